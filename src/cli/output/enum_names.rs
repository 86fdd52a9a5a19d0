//! Names of the API's enum values, in both directions. A value that only a newer server defines has
//! no name.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::grpc::proto;

/// An enum of the API. Its value 0 is UNSPECIFIED; the others follow without gaps.
pub(in crate::cli) trait ApiEnum:
    Copy + Default + PartialEq + TryFrom<i32> + Send + Sync + 'static
{
    /// The prefix of the names of all values.
    const PREFIX: &'static str;

    /// The name of the value in the proto file.
    fn proto_name(self) -> &'static str;
}

macro_rules! api_enums {
    ($($name:ident $prefix:literal)+) => {$(
        impl ApiEnum for proto::$name {
            const PREFIX: &'static str = $prefix;

            fn proto_name(self) -> &'static str {
                self.as_str_name()
            }
        }
    )+};
}

api_enums! {
    ChangeKind "CHANGE_KIND_"
    Credential "CREDENTIAL_"
    Encryption "ENCRYPTION_"
    FindingCode "FINDING_CODE_"
    Outcome "OUTCOME_"
    PortClass "PORT_CLASS_"
    Role "ROLE_"
    Severity "SEVERITY_"
    Source "SOURCE_"
    State "STATE_"
    Transport "TRANSPORT_"
}

/// The name of a value without its prefix, such as `IANA`; `None` for UNSPECIFIED.
pub(in crate::cli) fn name<E: ApiEnum>(value: E) -> Option<&'static str> {
    if value == E::default() { None } else { value.proto_name().strip_prefix(E::PREFIX) }
}

/// The name of the value with this number.
pub(in crate::cli) fn name_of<E: ApiEnum>(number: i32) -> Option<&'static str> {
    E::try_from(number).ok().and_then(name)
}

/// The name as a lower-case phrase, such as `pool created`; `-` for UNSPECIFIED.
pub(in crate::cli) fn phrase<E: ApiEnum>(value: E) -> String {
    name(value).unwrap_or("-").replace('_', " ").to_lowercase()
}

/// The phrases of a list of values.
pub(in crate::cli) fn phrases<E: ApiEnum>(numbers: &[i32]) -> Vec<String> {
    numbers.iter().map(|&number| phrase(E::try_from(number).unwrap_or_default())).collect()
}

/// `tcp`, `udp`, `sctp` or `dccp`.
pub(in crate::cli) fn transport(value: proto::Transport) -> Option<String> {
    name(value).map(str::to_lowercase)
}

/// The value of a name in any case, with `-` or `_`, with or without its prefix.
pub(in crate::cli) fn parse<E: ApiEnum>(text: &str) -> Option<E> {
    let text = text.trim().to_ascii_uppercase().replace('-', "_");
    let text = text.trim_start_matches(E::PREFIX);
    values().find(|&value| name(value) == Some(text))
}

fn values<E: ApiEnum>() -> impl Iterator<Item = E> {
    (1..).map_while(|number| E::try_from(number).ok())
}

fn flag_names<E: ApiEnum>() -> impl Iterator<Item = String> {
    values::<E>().filter_map(name).map(|name| name.to_lowercase().replace('_', "-"))
}

/// Parses the values of a flag, such as `pool-created`.
pub(in crate::cli) fn parser<E: ApiEnum>() -> impl TypedValueParser<Value = E> {
    PossibleValuesParser::new(flag_names::<E>()).map(|text| parse(&text).unwrap_or_default())
}

/// Parses the values of a flag that accepts `none` for UNSPECIFIED.
pub(in crate::cli) fn parser_or_none<E: ApiEnum>() -> impl TypedValueParser<Value = E> {
    PossibleValuesParser::new(flag_names::<E>().chain(["none".to_owned()]))
        .map(|text| parse(&text).unwrap_or_default())
}

/// The reason for which a search returned a service.
pub(in crate::cli) const fn match_reason(reason: proto::MatchReason) -> Option<&'static str> {
    Some(match reason {
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

    fn names_are_inverse<E: ApiEnum + std::fmt::Debug>(count: usize) {
        assert_eq!(values::<E>().count(), count);
        for value in values::<E>() {
            let name = name(value).unwrap_or_else(|| panic!("{value:?} has another prefix"));
            for text in [name, value.proto_name(), &name.to_lowercase().replace('_', "-")] {
                assert_eq!(parse(text), Some(value), "{text}");
            }
        }
        assert_eq!((name(E::default()), parse::<E>("unspecified")), (None, None));
    }

    #[test]
    fn names_have_no_prefix_and_are_parsed_back() {
        names_are_inverse::<proto::ChangeKind>(11);
        names_are_inverse::<proto::Credential>(2);
        names_are_inverse::<proto::Encryption>(4);
        names_are_inverse::<proto::FindingCode>(17);
        names_are_inverse::<proto::Outcome>(3);
        names_are_inverse::<proto::PortClass>(3);
        names_are_inverse::<proto::Role>(3);
        names_are_inverse::<proto::Severity>(3);
        names_are_inverse::<proto::Source>(3);
        names_are_inverse::<proto::State>(4);
        names_are_inverse::<proto::Transport>(4);
    }

    #[test]
    fn phrases_are_lower_case_and_unknown_values_are_dashes() {
        assert_eq!(phrase(proto::ChangeKind::NamespaceCreated), "namespace created");
        assert_eq!(phrases::<proto::Transport>(&[1, 99]), ["tcp", "-"]);
        assert_eq!(transport(proto::Transport::Tcp).as_deref(), Some("tcp"));
        assert_eq!(match_reason(proto::MatchReason::Substring), Some("part of a word"));
    }
}
