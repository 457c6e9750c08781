//! HTTP/1.1 as bytes: heads parsed in place, framing decided strictly, bodies decoded and re-framed.
//!
//! Nothing here reads or writes a socket. A head is parsed where it lies; what was found is kept as [`Span`]s into those
//! bytes, so that no field is copied and no memory is allocated once the tables have grown to their working size.
//!
//! The rules are those of RFC 9112, in the strict reading that leaves two parsers no room to disagree: only CRLF ends a line,
//! one framing per message, one `Host`.

pub mod chunked;
mod field;
pub mod path;
pub mod query;
mod request;
mod response;
mod scan;
mod write;

pub use field::{Field, HeaderBlock, Known, Span};
pub use request::{
    HeadLimits, Method, RequestBody, RequestError, RequestHead, Version, is_host_and_port,
};
pub use response::{ResponseBody, ResponseError, ResponseHead};
pub use scan::{HeadScanner, Scan, ScanError};
pub use write::{decimal, reason_phrase, write_field, write_status_line};
