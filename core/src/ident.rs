//! Request ids: random UUIDs made without a system call.

/// Makes version 4 UUIDs from a seeded xoshiro256++ generator. Ids are unique, not secret.
#[derive(Debug, Clone)]
pub struct IdGenerator {
    state: [u64; 4],
}

/// How an id is written (`handlers.request.format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdFormat {
    /// `8-4-4-4-12`, 36 bytes.
    #[default]
    Uuid,
    /// 32 hexadecimal digits.
    Hex,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The text of an id, at most 36 bytes, kept inline.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; 36],
    len: u8,
}

impl IdText {
    /// The text as bytes: ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl IdGenerator {
    /// A generator for this seed. An all-zero seed is replaced, because the generator would stay at zero.
    pub fn new(seed: [u64; 4]) -> Self {
        let state = if seed == [0; 4] {
            [0x9e37_79b9_7f4a_7c15, 1, 2, 3]
        } else {
            seed
        };
        Self { state }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// The text of a new version 4, variant 1 UUID.
    pub fn next_id(&mut self, format: IdFormat) -> IdText {
        let mut raw = [0_u8; 16];
        raw[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        raw[8..].copy_from_slice(&self.next_u64().to_be_bytes());
        raw[6] = (raw[6] & 0x0f) | 0x40;
        raw[8] = (raw[8] & 0x3f) | 0x80;
        let mut text = IdText {
            bytes: [b'-'; 36],
            len: 0,
        };
        let mut at = 0;
        for (index, byte) in raw.into_iter().enumerate() {
            if format == IdFormat::Uuid && matches!(index, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text.bytes[at] = HEX[usize::from(byte >> 4)];
            text.bytes[at + 1] = HEX[usize::from(byte & 0x0f)];
            at += 2;
        }
        text.len = at as u8;
        text
    }
}

/// SHA-256 of `text` in lower-case hexadecimal digits: the client identifier of an anonymous client
/// (contract request-lifecycle 5.6).
pub fn sha256_hex(text: &[u8]) -> [u8; 64] {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(text);
    let mut hex = [0; 64];
    for (index, byte) in digest.iter().enumerate() {
        hex[index * 2] = HEX[usize::from(byte >> 4)];
        hex[index * 2 + 1] = HEX[usize::from(byte & 0x0f)];
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_the_form_of_a_version_4_uuid() {
        let mut ids = IdGenerator::new([1, 2, 3, 4]);
        let id = ids.next_id(IdFormat::Uuid);
        let text = std::str::from_utf8(id.as_bytes()).expect("ASCII");
        assert_eq!(text.len(), 36);
        assert_eq!(
            text.match_indices('-')
                .map(|(at, _)| at)
                .collect::<Vec<_>>(),
            [8, 13, 18, 23]
        );
        assert_eq!(&text[14..15], "4");
        assert!("89ab".contains(&text[19..20]));
    }

    #[test]
    fn the_hash_is_sha_256_in_lower_case() {
        let hex = sha256_hex(b"abc");
        assert!(hex.starts_with(b"ba7816bf8f01cfea414140de5dae2223"));
    }

    #[test]
    fn the_hex_form_has_32_digits_and_ids_differ() {
        let mut ids = IdGenerator::new([0; 4]);
        let first = ids.next_id(IdFormat::Hex);
        let second = ids.next_id(IdFormat::Hex);
        assert_eq!(first.as_bytes().len(), 32);
        assert_ne!(first.as_bytes(), second.as_bytes());
        assert!(first.as_bytes().iter().all(u8::is_ascii_hexdigit));
    }
}
