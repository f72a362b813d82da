//! Pure: a configuration profile that offers the local CA to iOS and macOS (Apple, "Configuration Profile Reference", com.apple.security.root).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::local::LocalCa;

/// The text of `rtcctl.mobileconfig`. Its identifiers come from the CA, so that installing it twice replaces and two CAs stand side by side.
pub fn mobileconfig(ca: &LocalCa, title: &str) -> String {
    let title = escaped(title);
    let id: String = ca.sha256[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let (profile, payload) = (uuid(ca, b"profile"), uuid(ca, b"payload"));
    let content = STANDARD.encode(&ca.der);
    let content = content.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>().join("\n");
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
<key>PayloadContent</key>
<array>
<dict>
<key>PayloadCertificateFileName</key>
<string>rtcctl-{id}.cer</string>
<key>PayloadContent</key>
<data>
{content}
</data>
<key>PayloadDescription</key>
<string>Vouches for {title} and for private addresses only</string>
<key>PayloadDisplayName</key>
<string>{title}: local CA {id}</string>
<key>PayloadIdentifier</key>
<string>rtcctl.ca.{id}.root</string>
<key>PayloadType</key>
<string>com.apple.security.root</string>
<key>PayloadUUID</key>
<string>{payload}</string>
<key>PayloadVersion</key>
<integer>1</integer>
</dict>
</array>
<key>PayloadDescription</key>
<string>Lets this device trust {title}. Afterwards switch it on in Settings, General, About, Certificate Trust Settings.</string>
<key>PayloadDisplayName</key>
<string>{title}</string>
<key>PayloadIdentifier</key>
<string>rtcctl.ca.{id}</string>
<key>PayloadRemovalDisallowed</key>
<false/>
<key>PayloadType</key>
<string>Configuration</string>
<key>PayloadUUID</key>
<string>{profile}</string>
<key>PayloadVersion</key>
<integer>1</integer>
</dict>
</plist>
"#
    )
}

/// A version 8 UUID (RFC 9562 §5.8) out of the CA's hash and a purpose.
fn uuid(ca: &LocalCa, purpose: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&super::bundle::sha256(&[&ca.sha256, purpose].concat())[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// XML 1.0 text: markup escaped, characters that XML cannot carry left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
