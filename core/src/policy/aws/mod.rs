//! What it takes to call AWS: signatures, and credentials (contract policies 10).

pub(super) mod credentials;
pub(super) mod sigv4;
