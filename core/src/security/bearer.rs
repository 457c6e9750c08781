//! Where a bearer token is found (contract policies 4.2 item 1).

use std::borrow::Cow;

use super::bearer_token;
use crate::exchange::Request;

/// Query parameter that holds a token when no header does.
const PARAMETER: &str = "access_token";

/// The token of a request: of the first `Authorization` value of the scheme `Bearer`, else of the query. Bytes that are not UTF-8 make
/// a token that nothing accepts. An empty text is a token, too: an invalid one.
pub(crate) fn extract(request: &Request) -> Option<Cow<'_, str>> {
    if let Some(token) = request
        .headers
        .values("authorization")
        .find_map(bearer_token)
    {
        return Some(String::from_utf8_lossy(token));
    }
    if request.query.is_empty() {
        return None;
    }
    request
        .parameters()
        .find(|(name, _)| name == PARAMETER)
        .map(|(_, value)| value)
}
