//! Encrypted property values: AES in ECB mode with PKCS#7 padding, base64 (contract sync 5.3).

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use turnpike_config::Secret;

/// Decrypts a value. The reason of a failure names the setting, never the value or the secret.
pub(super) fn decrypt(value: &str, secret: &Secret) -> Result<String, &'static str> {
    let secret = secret.expose().as_bytes();
    let algorithm = match secret.len() {
        16 => &AES_128,
        24 => &AES_192,
        32 => &AES_256,
        _ => return Err("`api.properties.encryption.secret` must have 16, 24 or 32 bytes"),
    };
    let wrong = "it cannot be decrypted with `api.properties.encryption.secret`";
    let mut bytes = STANDARD
        .decode(value.trim())
        .map_err(|_| "its value is not base64")?;
    let key = UnboundCipherKey::new(algorithm, secret).map_err(|_| wrong)?;
    let key = PaddedBlockDecryptingKey::ecb_pkcs7(key).map_err(|_| wrong)?;
    let clear = key
        .decrypt(&mut bytes, DecryptionContext::None)
        .map_err(|_| wrong)?;
    std::str::from_utf8(clear)
        .map(str::to_owned)
        .map_err(|_| wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Encrypted by `openssl enc -aes-…-ecb -K … -base64`.
    #[test]
    fn values_are_decrypted_with_a_secret_of_any_aes_length() {
        for (secret, value) in [
            (
                "vvLJ4Q8Khvv9tm2tIPdkGEdmgKUruAL6",
                "S10bPJyWxQaH9Fqc6ohZoQ==",
            ),
            ("0123456789abcdef", "doyOMA1PFN3fMLAjhrXAbQ=="),
            ("0123456789abcdef01234567", "przPYjdchsqtgmRK4Catrg=="),
        ] {
            assert_eq!(
                decrypt(value, &Secret::new(secret)).as_deref(),
                Ok("real.host")
            );
        }
    }

    #[test]
    fn a_value_that_cannot_be_decrypted_says_which_setting_is_at_fault() {
        let good = "0123456789abcdef";
        for (secret, value, expected) in [
            ("short", "doyOMA1PFN3fMLAjhrXAbQ==", "16, 24 or 32 bytes"),
            (good, "no base64!", "base64"),
            (good, "AAAA", "api.properties.encryption.secret"),
            (good, "", "api.properties.encryption.secret"),
            (
                "another secret!!",
                "doyOMA1PFN3fMLAjhrXAbQ==",
                "api.properties.encryption.secret",
            ),
        ] {
            let reason = decrypt(value, &Secret::new(secret)).expect_err("it cannot be decrypted");
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
