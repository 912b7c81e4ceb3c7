//! Names of environment variables: which are allowed, and which hold what nobody should see.

/// Names that multibot itself gives a meaning in a bot's environment.
const RESERVED: [&str; 4] = ["BOT_ID", "BOT_INDEX", "BOT_TOKEN", "NOTIFY_SOCKET"];
const RESERVED_PREFIX: &str = "MULTIBOT_";

const SENSITIVE: [&str; 6] = ["TOKEN", "SECRET", "PASS", "KEY", "CREDENTIAL", "AUTH"];

/// Whether a variable of this name holds a value that must be hidden when it is shown and masked in logs.
pub fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SENSITIVE.iter().any(|part| name.contains(part))
}

/// Whether a shell could set a variable of this name.
pub(super) fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a bot's configuration may not set a variable of this name.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX)
}

/// What a name must look like, to follow behind `is not a variable name:`.
pub(super) const NAME_RULE: &str = "write letters, digits and _, the first no digit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["A", "_", "PATH", "a1_B"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "Ä", "A=B", "A\0"] {
            assert!(!is_name(bad), "{bad}");
        }
        for (name, reserved) in [
            ("BOT_TOKEN", true),
            ("MULTIBOT_X", true),
            ("BOT_NAME", false),
            ("PATH", false),
        ] {
            assert_eq!(is_reserved(name), reserved, "{name}");
        }
    }

    #[test]
    fn sensitive_by_any_case() {
        for name in [
            "TELEGRAM_TOKEN",
            "api_key",
            "DbPassword",
            "AWS_CREDENTIALS",
            "x_auth",
            "client_secret",
        ] {
            assert!(is_sensitive(name), "{name}");
        }
        for name in ["PATH", "TZ", "PORT", ""] {
            assert!(!is_sensitive(name), "{name}");
        }
    }
}
