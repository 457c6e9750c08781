//! Where batches go. The reporter knows this seam only, so that file and TCP sinks can take the Cloud Gate's place.

use std::pin::Pin;

use super::batch::Batch;
use super::outbox::Delivery;

/// A future that a trait object can return.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A receiver of batches.
pub trait Sink: Send + Sync {
    /// Tries once to deliver `batch`. The attempt is given up after a minute.
    fn deliver(&self, batch: &Batch) -> BoxFuture<Delivery>;

    /// The target as logs may show it, without credentials.
    fn target(&self) -> String;
}
