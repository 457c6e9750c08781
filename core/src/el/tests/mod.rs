//! Tests of the whole language, row by row of the contract.

mod samples;
mod world;

use super::{ElError, ElErrorKind, Template, Value};
use world::World;
