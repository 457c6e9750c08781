//! The response of an exchange.

use super::{Body, HeaderField, Headers};
use crate::http::{ResponseBody, ResponseHead};

/// The response, as policies see and change it. Before the backend has answered it holds what policies prepared: fields set in the
/// request phase go out beside the backend's. Reused from exchange to exchange.
#[derive(Debug, Default)]
pub struct Response {
    /// Status; 0 until somebody sets one.
    pub status: u16,
    /// Reason phrase; empty means the standard one.
    pub reason: Vec<u8>,
    /// Header fields.
    pub headers: Headers,
    /// Body. A body that is [`Body::Buffered`] is sent with its own length, whatever the backend announced.
    pub body: Body,
    /// Mark behind the fields that policies had prepared before the backend answered.
    prepared: Option<usize>,
}

impl Response {
    /// Forgets everything; keeps the memory.
    pub fn clear(&mut self) {
        self.status = 0;
        self.reason.clear();
        self.headers.clear();
        self.body = Body::None;
        self.prepared = None;
    }

    /// Takes over the head of the backend's response, of which `bytes` are what it was parsed from. Fields that policies prepared stay in
    /// front.
    pub fn receive(&mut self, head: &ResponseHead, bytes: &[u8]) {
        self.prepared = Some(self.headers.mark());
        self.status = head.status;
        self.reason.clear();
        self.reason.extend_from_slice(head.reason.of(bytes));
        self.headers.append_received(&head.fields, bytes);
        self.body = match head.body {
            ResponseBody::None => Body::None,
            _ => Body::Streaming,
        };
    }

    /// A policy answers in the backend's place: what it adds from here on is forgotten with [`Response::forget`].
    pub fn answer(&mut self, status: u16) {
        self.prepared = Some(self.headers.mark());
        self.status = status;
        self.reason.clear();
        self.body = Body::None;
    }

    /// The fields of the answer, without those that policies had prepared before it came.
    pub fn received(&self) -> impl Iterator<Item = HeaderField<'_>> {
        self.headers.since(self.prepared.unwrap_or(0))
    }

    /// Forgets the backend's response, because the backend is called again. Fields that policies prepared stay.
    pub fn forget(&mut self) {
        if let Some(prepared) = self.prepared.take() {
            self.headers.forget_since(prepared);
        }
        self.status = 0;
        self.reason.clear();
        self.body = Body::None;
    }
}
