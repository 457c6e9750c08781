//! Message bodies, as policies see them.

/// A body on its way through the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// It passes piece by piece; policies cannot see it. A policy that must see it says so with [`crate::policy::BodyNeeds`], or
    /// asks with [`crate::need::Need::RequestBody`] or [`crate::need::Need::ResponseBody`].
    Streaming,
    /// It is in memory, whole, without its transfer coding; a policy may replace it.
    Buffered(Vec<u8>),
}

impl Body {
    /// The bytes of a body that is none or in memory; `None` while it is streaming.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::None => Some(&[]),
            Self::Streaming => None,
            Self::Buffered(bytes) => Some(bytes),
        }
    }

    /// Whether it has still to be read before it can be looked at.
    pub fn is_streaming(&self) -> bool {
        matches!(self, Self::Streaming)
    }
}
