//! What a bot of WhatsApp's Cloud API is told of its platform.

use serde::{Deserialize, Serialize};

/// Settings of a bot that talks to WhatsApp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhatsappPolicy {
    /// Where the Graph API is, without a slash at the end.
    pub api_root: String,
    /// Its version, such as `v23.0`.
    pub version: String,
    /// Where webhooks are listened for, such as `127.0.0.1:8090`; None: the bot only sends.
    pub listen: Option<String>,
}

impl Default for WhatsappPolicy {
    fn default() -> WhatsappPolicy {
        WhatsappPolicy {
            api_root: "https://graph.facebook.com".to_owned(),
            version: "v23.0".to_owned(),
            listen: None,
        }
    }
}
