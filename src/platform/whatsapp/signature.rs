//! Whether a webhook is from whom it says: `X-Hub-Signature-256` is the HMAC-SHA256 of the raw body under the app's secret.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::bot::Secret;

/// `header` is `sha256=` and 64 digits. The comparison takes the same time whatever is wrong.
pub fn is_signed(secret: &Secret, body: &[u8], header: &str) -> bool {
    let Some(expected) = header.trim().strip_prefix("sha256=").and_then(bytes) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&expected).is_ok()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_vectors_of_rfc_4231_hold() {
        let key = Secret::new("Jefe".to_owned());
        let body = b"what do ya want for nothing?";
        let digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(is_signed(&key, body, &format!("sha256={digest}")));
        assert!(is_signed(&key, body, &format!(" sha256={}", digest.to_uppercase())));
        for (body, header) in [
            (&body[..], digest.to_owned()),
            (&body[1..], format!("sha256={digest}")),
            (&body[..], format!("sha256={}", &digest[1..])),
            (&body[..], format!("sha256={}x", &digest[1..])),
            (&body[..], "sha256=".to_owned()),
            (&body[..], String::new()),
        ] {
            assert!(!is_signed(&key, body, &header), "{header}");
        }
        assert!(!is_signed(
            &Secret::new("jefe".to_owned()),
            body,
            &format!("sha256={digest}")
        ));
    }
}
