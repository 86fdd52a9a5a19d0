//! Shortens arbitrary names to valid service names.

use itertools::Itertools;

use crate::registry::service_name::ServiceName;

/// Converts the name to lower case, replaces other characters than letters and digits with single
/// hyphens, and truncates it to 15 characters. `None` if no letter is left.
pub(super) fn shortened(name: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let mut words =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut short = words.join("-");
    short.truncate(ServiceName::MAX_LENGTH);
    let short = short.trim_end_matches('-');
    short.parse::<ServiceName>().is_ok().then(|| short.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_shortened_predictably() {
        for (name, short) in [
            ("kube-controller-manager", "kube-controller"),
            ("node_exporter", "node-exporter"),
            ("Node  Exporter (old)", "node-exporter-o"),
            ("ovn-kubernetes master kube-rbac-proxy", "ovn-kubernetes"),
            ("-etcd-", "etcd"),
            ("Zürich API", "z-rich-api"),
            ("various CSI drivers", "various-csi-dri"),
        ] {
            assert_eq!(shortened(name).as_deref(), Some(short), "{name}");
        }
        for name in ["", "---", "9100", "日本", "123456789012345-a"] {
            assert_eq!(shortened(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn shortened_names_are_valid_and_stable(name in "\\PC{0,40}") {
            if let Some(short) = shortened(&name) {
                prop_assert!(short.parse::<ServiceName>().is_ok());
                prop_assert_eq!(shortened(&short), Some(short));
            }
        }
    }
}
