//! Numbers as header values, without an allocation.

/// The decimal digits of a number, and a unit behind them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits {
    /// A sign, 19 digits, and two letters.
    bytes: [u8; 22],
    start: u8,
}

impl Digits {
    /// `-1`, `42`.
    pub(crate) fn of(number: i64) -> Self {
        Self::with_unit(number, [])
    }

    /// `100ms`.
    pub(crate) fn milliseconds(number: i64) -> Self {
        Self::with_unit(number, *b"ms")
    }

    fn with_unit<const UNIT: usize>(number: i64, unit: [u8; UNIT]) -> Self {
        let mut bytes = [0; 22];
        let mut places = bytes.iter_mut().rev();
        let mut written = 0;
        let mut put = |byte: u8| {
            if let Some(place) = places.next() {
                *place = byte;
                written += 1;
            }
        };
        for letter in unit.into_iter().rev() {
            put(letter);
        }
        let mut rest = number.unsigned_abs();
        loop {
            put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            put(b'-');
        }
        Self {
            bytes,
            start: 22 - written,
        }
    }
}

impl AsRef<[u8]> for Digits {
    fn as_ref(&self) -> &[u8] {
        self.bytes
            .get(usize::from(self.start)..)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 9, 10, 123, -1, i64::MAX, i64::MIN] {
            assert_eq!(
                Digits::of(number).as_ref(),
                number.to_string().as_bytes(),
                "{number}"
            );
            assert_eq!(
                Digits::milliseconds(number).as_ref(),
                format!("{number}ms").as_bytes()
            );
        }
    }
}
