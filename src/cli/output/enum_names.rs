//! Names of the API's enum values. A value that only a newer server defines has no name.

use crate::grpc::proto;

/// The name of a value without its prefix; `None` for UNSPECIFIED.
fn value_name<E>(number: i32, prefix: &str, name: fn(&E) -> &'static str) -> Option<&'static str>
where
    E: TryFrom<i32> + Default + PartialEq,
{
    let value = E::try_from(number).ok().filter(|value| *value != E::default())?;
    name(&value).strip_prefix(prefix)
}

/// `IANA`, `CUSTOM` or `COMMON`.
pub(in crate::cli) fn source(number: i32) -> Option<&'static str> {
    value_name(number, "SOURCE_", proto::Source::as_str_name)
}

/// `ASSIGNED`, `RESERVED`, `UNASSIGNED` or `UNLISTED`.
pub(in crate::cli) fn state(number: i32) -> Option<&'static str> {
    value_name(number, "STATE_", proto::State::as_str_name)
}

/// `tcp`, `udp`, `sctp` or `dccp`.
pub(in crate::cli) fn transport(number: i32) -> Option<String> {
    value_name(number, "TRANSPORT_", proto::Transport::as_str_name).map(str::to_ascii_lowercase)
}

/// `SYSTEM`, `USER` or `DYNAMIC`.
pub(in crate::cli) fn port_class(number: i32) -> Option<&'static str> {
    value_name(number, "PORT_CLASS_", proto::PortClass::as_str_name)
}

/// `NONE`, `STARTTLS`, `TLS` or `OWN`.
pub(in crate::cli) fn encryption(number: i32) -> Option<&'static str> {
    value_name(number, "ENCRYPTION_", proto::Encryption::as_str_name)
}

/// `IANA_ASSIGNED` and so on.
pub(in crate::cli) fn finding_code(number: i32) -> Option<&'static str> {
    value_name(number, "FINDING_CODE_", proto::FindingCode::as_str_name)
}

/// `BLOCKER`, `ACKNOWLEDGE` or `NOTE`.
pub(in crate::cli) fn severity(number: i32) -> Option<&'static str> {
    value_name(number, "SEVERITY_", proto::Severity::as_str_name)
}

/// `ACCEPTED`, `ACKNOWLEDGEMENT_REQUIRED` or `REFUSED`.
pub(in crate::cli) fn outcome(number: i32) -> Option<&'static str> {
    value_name(number, "OUTCOME_", proto::Outcome::as_str_name)
}

/// `REGISTERED`, `NAMESPACE_CREATED` and so on.
pub(in crate::cli) fn change_kind(number: i32) -> Option<&'static str> {
    value_name(number, "CHANGE_KIND_", proto::ChangeKind::as_str_name)
}

/// `VIEWER`, `REGISTRAR` or `ADMIN`.
pub(in crate::cli) fn role(number: i32) -> Option<&'static str> {
    value_name(number, "ROLE_", proto::Role::as_str_name)
}

/// `SECRET` or `CERTIFICATE`.
pub(in crate::cli) fn credential(number: i32) -> Option<&'static str> {
    value_name(number, "CREDENTIAL_", proto::Credential::as_str_name)
}

/// Why a search returned a service.
pub(in crate::cli) fn match_reason(number: i32) -> Option<&'static str> {
    Some(match proto::MatchReason::try_from(number).ok()? {
        proto::MatchReason::Unspecified => return None,
        proto::MatchReason::ExactName => "name",
        proto::MatchReason::Alias => "alias",
        proto::MatchReason::Port => "port",
        proto::MatchReason::Prefix => "prefix",
        proto::MatchReason::Word => "word",
        proto::MatchReason::Substring => "part of a word",
        proto::MatchReason::Similar => "similar",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_prefix_and_unknown_values_have_no_name() {
        assert_eq!(source(2), Some("IANA"));
        assert_eq!(state(4), Some("UNLISTED"));
        assert_eq!(transport(1).as_deref(), Some("tcp"));
        assert_eq!(port_class(3), Some("DYNAMIC"));
        assert_eq!(encryption(1), Some("NONE"));
        assert_eq!(finding_code(4), Some("IANA_ASSIGNED"));
        assert_eq!(severity(1), Some("BLOCKER"));
        assert_eq!(outcome(2), Some("ACKNOWLEDGEMENT_REQUIRED"));
        assert_eq!(change_kind(6), Some("NAMESPACE_CREATED"));
        assert_eq!((role(2), credential(2)), (Some("REGISTRAR"), Some("CERTIFICATE")));
        assert_eq!(match_reason(6), Some("part of a word"));
        assert_eq!((source(0), source(99), match_reason(0)), (None, None, None));
    }
}
