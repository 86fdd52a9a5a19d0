//! Guides as text and JSON.

use serde_json::{Value, json};

use super::record::text;
use super::{enum_names, table};
use crate::grpc::proto;

/// The first guide as a paragraph, the others as one sentence each.
pub(in crate::cli) fn paragraphs(guides: &[proto::Guide]) -> String {
    let Some((first, others)) = guides.split_first() else {
        return String::new();
    };
    let mut lines = vec![format!("{}: {}", name(first), first.summary)];
    if let Some(encryption) = encryption(first.encryption) {
        lines.push(format!("Encryption: {encryption}"));
    }
    if !first.use_instead.is_empty() {
        lines.push(format!("Use instead: {}", first.use_instead));
    }
    lines.extend(others.iter().map(|guide| format!("{}: {}", guide.title, first_sentence(guide))));
    lines.iter().map(|line| table::wrapped(line)).collect()
}

fn name(guide: &proto::Guide) -> String {
    if guide.full_name.is_empty() || guide.full_name == guide.title {
        return guide.title.clone();
    }
    format!("{} ({})", guide.title, guide.full_name)
}

fn first_sentence(guide: &proto::Guide) -> &str {
    guide.summary.find(". ").map_or(&guide.summary, |end| &guide.summary[..=end])
}

fn encryption(number: i32) -> Option<&'static str> {
    Some(match proto::Encryption::try_from(number).ok()? {
        proto::Encryption::Unspecified => return None,
        proto::Encryption::None => "none; anyone on the path can read and change the traffic",
        proto::Encryption::Starttls => {
            "starts in plaintext, can be upgraded to TLS on the same port"
        }
        proto::Encryption::Tls => "TLS, DTLS or QUIC from the first byte",
        proto::Encryption::Own => "defined by the protocol",
    })
}

/// The guide as a JSON object, in the field order of the API.
pub(in crate::cli) fn object(guide: &proto::Guide) -> Value {
    json!({
        "id": guide.id,
        "title": guide.title,
        "full_name": text(&guide.full_name),
        "summary": guide.summary,
        "category": text(&guide.category),
        "encryption": enum_names::name(guide.encryption()),
        "use_instead": text(&guide.use_instead),
        "aliases": guide.aliases,
        "service_names": guide.service_names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_guide_is_shown_in_full() {
        let telnet = proto::Guide {
            title: "Telnet".into(),
            full_name: "Telnet".into(),
            summary: "Remote terminal. Old.".into(),
            encryption: proto::Encryption::None.into(),
            use_instead: "ssh".into(),
            ..proto::Guide::default()
        };
        let rdp = proto::Guide {
            title: "RDP".into(),
            full_name: "Remote Desktop Protocol".into(),
            summary: "Windows desktops. From afar.".into(),
            ..proto::Guide::default()
        };
        let none = "none; anyone on the path can read and change the traffic";
        assert_eq!(
            paragraphs(&[telnet, rdp.clone()]),
            format!(
                "Telnet: Remote terminal. Old.\nEncryption: {none}\nUse instead: ssh\nRDP: Windows desktops.\n"
            )
        );
        assert_eq!(
            paragraphs(&[rdp]),
            "RDP (Remote Desktop Protocol): Windows desktops. From afar.\n"
        );
        assert_eq!(paragraphs(&[]), "");
    }
}
