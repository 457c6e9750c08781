//! Header fields as spans into the bytes they were parsed from.

/// A range of bytes in a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The span from `start` to `end`, exclusive. Heads are limited to far less than 4 GiB.
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The span of `part` inside `whole`, of which it must be a sub-slice.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Self {
        if part.is_empty() {
            return Self::default();
        }
        let start = part.as_ptr() as usize - whole.as_ptr() as usize;
        Self::new(start, start + part.len())
    }

    /// The bytes of this span in `head`, the bytes it was made from.
    pub fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }

    /// The text of this span in `head`; empty when it is not UTF-8.
    pub fn text_of(self, head: &[u8]) -> &str {
        std::str::from_utf8(self.of(head)).unwrap_or_default()
    }

    /// First byte.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// One past the last byte.
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// True when it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

macro_rules! known_fields {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// Field names that the gateway acts upon, recognised once while parsing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each variant is the field of that name")]
        pub enum Known { $($variant,)* Other }

        impl Known {
            /// Recognises a field name, letter case ignored.
            pub fn of(name: &[u8]) -> Self {
                match name.len() {
                    $(len if len == $name.len() && name.eq_ignore_ascii_case($name) => Self::$variant,)*
                    _ => Self::Other,
                }
            }
        }
    };
}

known_fields! {
    Te = b"te",
    Host = b"host",
    Accept = b"accept",
    Expect = b"expect",
    Trailer = b"trailer",
    Upgrade = b"upgrade",
    Connection = b"connection",
    KeepAlive = b"keep-alive",
    UserAgent = b"user-agent",
    ContentLength = b"content-length",
    AcceptEncoding = b"accept-encoding",
    XForwardedFor = b"x-forwarded-for",
    ProxyConnection = b"proxy-connection",
    TransferEncoding = b"transfer-encoding",
    ProxyAuthenticate = b"proxy-authenticate",
    ProxyAuthorization = b"proxy-authorization",
}

impl Known {
    /// Fields that belong to one hop and are never forwarded (RFC 9110 7.6.1, contract request-lifecycle 8.3). Framing fields
    /// are not among them: they are written anew.
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::ProxyConnection
                | Self::Te
                | Self::Trailer
                | Self::Upgrade
        )
    }

    /// Fields that frame a message body.
    pub fn is_framing(self) -> bool {
        matches!(self, Self::ContentLength | Self::TransferEncoding)
    }
}

/// One header field of a parsed head.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Name as received.
    pub name: Span,
    /// Value without surrounding white space.
    pub value: Span,
    /// The name, recognised.
    pub known: Known,
    /// Named by `Connection`: not forwarded.
    pub nominated: bool,
}

/// The header fields of a head, in the order received.
#[derive(Debug, Clone, Default)]
pub struct HeaderBlock {
    fields: Vec<Field>,
}

impl HeaderBlock {
    /// The fields in the order received.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.fields.iter()
    }

    /// The first field of this kind.
    pub fn first(&self, known: Known) -> Option<&Field> {
        self.fields.iter().find(|field| field.known == known)
    }

    /// The first value of the field called `name`, letter case ignored.
    pub fn value<'h>(&self, head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
        self.fields
            .iter()
            .find(|field| field.name.of(head).eq_ignore_ascii_case(name))
            .map(|field| field.value.of(head))
    }

    /// Every value of the fields of this kind.
    pub fn values<'h>(&self, head: &'h [u8], known: Known) -> impl Iterator<Item = &'h [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.known == known)
            .map(|field| field.value.of(head))
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True when there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.fields.clear();
    }

    pub(crate) fn push(&mut self, head: &[u8], name: &[u8], value: &[u8]) {
        self.fields.push(Field {
            name: Span::within(head, name),
            value: Span::within(head, value),
            known: Known::of(name),
            nominated: false,
        });
    }

    /// Marks the fields that the `Connection` options name. `Err` holds an option that may not be nominated, because removing
    /// that field would change framing, routing or security.
    pub(crate) fn mark_nominated(
        &mut self,
        head: &[u8],
        protected: &[&[u8]],
    ) -> Result<ConnectionOptions, Protected> {
        let mut options = ConnectionOptions::default();
        for index in 0..self.fields.len() {
            let field = self.fields[index];
            if !matches!(field.known, Known::Connection | Known::ProxyConnection) {
                continue;
            }
            for option in list(field.value.of(head)) {
                if option.eq_ignore_ascii_case(b"close") {
                    options.close |= field.known == Known::Connection;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    options.keep_alive |= field.known == Known::Connection;
                } else if protected
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(option))
                {
                    return Err(Protected);
                } else if field.known == Known::Connection {
                    for field in &mut self.fields {
                        field.nominated |= field.name.of(head).eq_ignore_ascii_case(option);
                    }
                }
            }
        }
        Ok(options)
    }
}

/// What `Connection` asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
}

/// A `Connection` option named a protected field.
#[derive(Debug)]
pub(crate) struct Protected;

/// The non-empty elements of a comma-separated list.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(|element| element.trim_ascii())
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_whatever_their_letter_case() {
        assert_eq!(Known::of(b"HOST"), Known::Host);
        assert_eq!(Known::of(b"Transfer-Encoding"), Known::TransferEncoding);
        assert_eq!(Known::of(b"hos"), Known::Other);
        assert_eq!(Known::of(b"x-forwarded-fox"), Known::Other);
    }

    #[test]
    fn nominated_fields_are_marked_and_protected_ones_refused() {
        let head = b"Connection: close, X-Secret\r\nX-Secret: 1\r\n";
        let mut block = HeaderBlock::default();
        block.push(head, &head[0..10], &head[12..27]);
        block.push(head, &head[29..37], &head[39..40]);
        let options = block
            .mark_nominated(head, &[b"host"])
            .expect("nothing protected");
        assert!(options.close && !options.keep_alive);
        assert!(block.iter().nth(1).expect("two fields").nominated);
        assert!(block.mark_nominated(head, &[b"x-secret"]).is_err());
    }
}
