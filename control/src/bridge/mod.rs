//! The HTTP bridge protocol of the control plane: its wire types and our client (contract sync 2 and 3).

pub mod wire;
