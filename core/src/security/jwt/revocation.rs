//! Lists of revoked tokens (contract policies 4.2 item 6, 4.4).

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use crate::need::HttpReply;

/// Bytes of a list at most.
pub(crate) const BODY_BYTES_MAX: usize = 5_242_880;

/// Values of the revocation claim that are revoked.
#[derive(Debug)]
pub(crate) struct Revoked(HashSet<Box<str>, foldhash::fast::RandomState>);

impl Revoked {
    pub(crate) fn contains(&self, value: &str) -> bool {
        self.0.contains(value)
    }
}

/// What a [`crate::need::SharedDocument`] keeps of a list: one value per line.
pub(crate) fn parse(reply: &HttpReply) -> Result<Arc<dyn Any + Send + Sync>, String> {
    if !(200..300).contains(&reply.status) {
        return Err(format!(
            "the revocation list's server answered {}",
            reply.status
        ));
    }
    let text = String::from_utf8_lossy(&reply.body);
    let values = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(Into::into)
        .collect();
    Ok(Arc::new(Revoked(values)))
}
