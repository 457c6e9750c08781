//! Finds the end of a head in bytes that arrive piece by piece, in one pass however they are split.

/// Remembers how far a head has been scanned.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadScanner {
    /// Bytes already looked at.
    scanned: usize,
    /// Start of the line being scanned.
    line_start: usize,
    /// Whether the start line is behind us.
    past_start_line: bool,
    /// Empty lines skipped before the start line.
    leading: usize,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The head is not complete.
    Partial,
    /// The head lies at `start..end`, the empty line included.
    Complete {
        /// First byte of the start line, after a tolerated empty line.
        start: usize,
        /// One past the empty line that ends the head.
        end: usize,
    },
}

/// Why the bytes cannot be a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanError {
    /// A line feed without a carriage return before it, or more than one leading empty line.
    LineEnd,
    /// The start line is longer than the limit.
    StartLineTooLong,
    /// The fields are longer than the limit.
    FieldsTooLong,
}

impl HeadScanner {
    /// Looks at the bytes that were added to `bytes` since the last call. `start_line_max` and `fields_max` are in bytes.
    pub fn scan(
        &mut self,
        bytes: &[u8],
        start_line_max: usize,
        fields_max: usize,
    ) -> Result<Scan, ScanError> {
        for found in memchr::memchr_iter(b'\n', &bytes[self.scanned..]) {
            let at = self.scanned + found;
            if at == self.line_start || bytes[at - 1] != b'\r' {
                return Err(ScanError::LineEnd);
            }
            let length = at - 1 - self.line_start;
            let start = self.leading * 2;
            if length == 0 {
                if self.past_start_line {
                    self.check_fields(at + 1, bytes, start, fields_max)?;
                    return Ok(Scan::Complete { start, end: at + 1 });
                }
                // One empty line before a request is tolerated (RFC 9112 2.2).
                if self.leading == 1 {
                    return Err(ScanError::LineEnd);
                }
                self.leading = 1;
            } else if !self.past_start_line {
                if length > start_line_max {
                    return Err(ScanError::StartLineTooLong);
                }
                self.past_start_line = true;
            }
            self.line_start = at + 1;
        }
        self.scanned = bytes.len();
        if self.past_start_line {
            self.check_fields(bytes.len(), bytes, self.leading * 2, fields_max)?;
        } else if bytes.len() - self.line_start > start_line_max + 1 {
            return Err(ScanError::StartLineTooLong);
        }
        Ok(Scan::Partial)
    }

    fn check_fields(
        &self,
        end: usize,
        bytes: &[u8],
        start: usize,
        fields_max: usize,
    ) -> Result<(), ScanError> {
        let start_line = memchr::memchr(b'\n', &bytes[start..]).map_or(0, |at| start + at + 1);
        if end - start_line > fields_max + 2 {
            Err(ScanError::FieldsTooLong)
        } else {
            Ok(())
        }
    }

    /// Whether any byte has been seen.
    pub fn is_empty(&self) -> bool {
        self.scanned == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn a_head_is_found_however_its_bytes_are_split() {
        for cut in 0..HEAD.len() {
            let mut scanner = HeadScanner::default();
            assert_eq!(
                scanner.scan(&HEAD[..cut], 100, 100),
                Ok(Scan::Partial),
                "cut at {cut}"
            );
            assert_eq!(
                scanner.scan(HEAD, 100, 100),
                Ok(Scan::Complete {
                    start: 0,
                    end: HEAD.len()
                })
            );
        }
        let mut scanner = HeadScanner::default();
        for end in 1..HEAD.len() {
            assert_eq!(
                scanner.scan(&HEAD[..end], 100, 100),
                Ok(Scan::Partial),
                "byte by byte, {end}"
            );
        }
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for bytes in [
            &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n\n",
            b"\nGET",
        ] {
            assert_eq!(
                HeadScanner::default().scan(bytes, 100, 100),
                Err(ScanError::LineEnd)
            );
        }
    }

    #[test]
    fn one_leading_empty_line_is_skipped_and_a_second_is_not() {
        let one = [b"\r\n", HEAD].concat();
        assert_eq!(
            HeadScanner::default().scan(&one, 100, 100),
            Ok(Scan::Complete {
                start: 2,
                end: one.len()
            })
        );
        let two = [b"\r\n\r\n", HEAD].concat();
        assert_eq!(
            HeadScanner::default().scan(&two, 100, 100),
            Err(ScanError::LineEnd)
        );
    }

    #[test]
    fn limits_are_exact_for_the_start_line_and_the_fields() {
        assert_eq!(
            HeadScanner::default().scan(HEAD, 13, 100),
            Err(ScanError::StartLineTooLong)
        );
        assert!(HeadScanner::default().scan(HEAD, 14, 100).is_ok());
        assert_eq!(
            HeadScanner::default().scan(HEAD, 100, 8),
            Err(ScanError::FieldsTooLong)
        );
        assert!(HeadScanner::default().scan(HEAD, 100, 9).is_ok());
        assert_eq!(
            HeadScanner::default().scan(&[b'a'; 200], 100, 100),
            Err(ScanError::StartLineTooLong)
        );
        let endless = [b"GET / HTTP/1.1\r\n".as_slice(), &[b'a'; 200]].concat();
        assert_eq!(
            HeadScanner::default().scan(&endless, 100, 100),
            Err(ScanError::FieldsTooLong)
        );
    }
}
