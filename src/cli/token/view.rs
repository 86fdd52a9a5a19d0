//! The output of tokens.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::grant;
use crate::cli::output::record::{text, timestamp};
use crate::cli::output::{self, Format, clean, enum_names, table};
use crate::cli::resource::{Property, Resource, Single};
use crate::cli::{Error, ExitStatus};
use crate::grpc::proto;

/// A token, and its secret if it is new.
#[derive(Default)]
pub(super) struct TokenView {
    pub(super) token: proto::Token,
    /// The time at which its expiry is evaluated.
    now: Timestamp,
    /// The new secret, which can't be shown again; empty for a token that is authenticated by a
    /// certificate.
    pub(super) secret: Option<String>,
}

impl TokenView {
    /// A token as of `now`.
    pub(super) const fn new(token: proto::Token, now: Timestamp) -> Self {
        Self { token, now, secret: None }
    }

    /// A token after a write, as of the server's time of the write.
    pub(super) fn written(token: Option<proto::Token>, secret: Option<String>) -> Self {
        let token = token.unwrap_or_default();
        let time = token.update_time.unwrap_or_default();
        let now = Timestamp::new(time.seconds, time.nanos).unwrap_or_default();
        Self { token, now, secret }
    }

    /// Prints the token under `done`, the past participle of the action, or only its secret.
    pub(super) fn print(
        self,
        done: &str,
        quiet: bool,
        format: Format,
    ) -> Result<ExitStatus, Error> {
        if quiet {
            return output::print(&format!("{}\n", self.secret.unwrap_or_default()));
        }
        output::show(format, &Single { heading: Some(format!("{done}:")), resource: self })
    }

    /// The expiry, or since when the token is revoked or expired.
    fn expiry(&self) -> String {
        let is_past = |end: prost_types::Timestamp| {
            (end.seconds, end.nanos) <= (self.now.as_second(), self.now.subsec_nanosecond())
        };
        match (self.token.revoke_time, self.token.expire_time) {
            (Some(revoked), _) => format!("revoked {}", table::time(revoked)),
            (None, Some(end)) if is_past(end) => format!("expired {}", table::time(end)),
            (None, Some(end)) => table::time(end),
            (None, None) => "never".into(),
        }
    }

    /// The permissions of the role.
    fn permissions(&self, grants: &str) -> String {
        match self.token.role() {
            proto::Role::Unspecified => String::new(),
            proto::Role::Viewer => "read".into(),
            proto::Role::Registrar => {
                format!("read; register, update and release ports in {grants}")
            }
            proto::Role::Admin => {
                "all calls, including managing namespaces, pools and tokens".into()
            }
        }
    }

    fn authentication(&self) -> String {
        match self.token.credential() {
            proto::Credential::Unspecified => String::new(),
            proto::Credential::Certificate => "a client certificate that contains its name".into(),
            proto::Credential::Secret => match self.token.rotate_time {
                Some(created) => format!("a secret, created {}", table::time(created)),
                None => "a secret".into(),
            },
        }
    }

    /// The object with the new secret, if any.
    fn with_secret(&self, mut object: Value) -> Value {
        if let Some(secret) = &self.secret {
            object["secret"] = json!(text(secret));
        }
        object
    }
}

impl Resource for TokenView {
    const COLUMNS: &'static [&'static str] =
        &["name", "role", "grants", "credential", "expires", "description"];

    fn properties(&self) -> Vec<Property> {
        let token = &self.token;
        let grants = clean(&grant::scopes(&token.grants).join(", "));
        let time = |time: Option<prost_types::Timestamp>| time.map(table::time).unwrap_or_default();
        vec![
            ("name", clean(&token.name)),
            ("description", clean(&token.description)),
            ("role", enum_names::phrase(token.role())),
            ("permissions", self.permissions(&grants)),
            ("grants", table::cell(&grants)),
            ("credential", enum_names::phrase(token.credential())),
            ("expires", self.expiry()),
            ("authentication", self.authentication()),
            ("old secret expires", time(token.former_expire_time)),
            ("created", format!("{} by {}", time(token.create_time), clean(&token.creator))),
            ("updated", time(token.update_time)),
        ]
    }

    /// Without the properties that others repeat.
    fn details(&self) -> Vec<Property> {
        let mut properties = self.properties();
        properties.retain(|(name, _)| !["grants", "credential"].contains(name));
        properties
    }

    fn object(&self) -> Value {
        let token = &self.token;
        let grants = token.grants.iter();
        let grants =
            grants.map(|grant| json!({"namespace": grant.namespace, "pools": grant.pools}));
        self.with_secret(json!({
            "name": text(&token.name),
            "description": text(&token.description),
            "role": enum_names::name(token.role()),
            "grants": grants.collect::<Vec<_>>(),
            "credential": enum_names::name(token.credential()),
            "expire_time": timestamp(token.expire_time),
            "create_time": timestamp(token.create_time),
            "creator": text(&token.creator),
            "update_time": timestamp(token.update_time),
            "rotate_time": timestamp(token.rotate_time),
            "former_expire_time": timestamp(token.former_expire_time),
            "revoke_time": timestamp(token.revoke_time),
        }))
    }

    /// The grants in the format of `--grant`.
    fn csv_row(&self) -> Value {
        let mut row = self.object();
        row["grants"] = json!(grant::scopes(&self.token.grants));
        row
    }

    /// The new secret and how to use it.
    fn footer(&self) -> String {
        let Some(secret) = &self.secret else { return String::new() };
        if secret.is_empty() {
            return "\nThe token has no secret: authenticate with a client certificate that contains \
                    its name (--cert and --key).\n"
                .into();
        }
        let former = self
            .token
            .former_expire_time
            .map(|end| format!("\nThe old secret remains valid until {}.\n", table::time(end)));
        format!(
            "\nThe secret, which can't be shown again:\n\n    {secret}\n\nTo use it:\n\n    export \
             PORTBOOK_TOKEN={secret}\n{}",
            former.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::View;
    use crate::cli::resource::List;

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 0 }
    }

    fn token(name: &str) -> proto::Token {
        proto::Token {
            name: name.into(),
            role: proto::Role::Registrar.into(),
            grants: vec![
                proto::Grant { namespace: "prod".into(), pools: vec!["web".into(), "apps".into()] },
                proto::Grant { namespace: "staging".into(), pools: vec![] },
            ],
            credential: proto::Credential::Secret.into(),
            description: "Deploys\u{1b}".into(),
            ..proto::Token::default()
        }
    }

    #[test]
    fn tokens_are_shown_with_their_expiry() {
        let tokens = vec![
            token("ci"),
            proto::Token { expire_time: Some(at(60)), ..token("late") },
            proto::Token { expire_time: Some(at(90)), grants: vec![], role: 1, ..token("soon") },
            proto::Token { revoke_time: Some(at(30)), expire_time: Some(at(60)), ..token("old") },
        ];
        let now = Timestamp::from_second(60).unwrap();
        let resources = tokens.into_iter().map(|token| TokenView::new(token, now)).collect();
        let tokens = List { resources, columns: TokenView::COLUMNS };
        let expected = "\
NAME  ROLE       GRANTS                        CREDENTIAL  EXPIRES                       DESCRIPTION
ci    registrar  prod/web, prod/apps, staging  secret      never                         Deploys�
late  registrar  prod/web, prod/apps, staging  secret      expired 1970-01-01T00:01:00Z  Deploys�
soon  viewer     -                             secret      1970-01-01T00:01:30Z          Deploys�
old   registrar  prod/web, prod/apps, staging  secret      revoked 1970-01-01T00:00:30Z  Deploys�
";
        assert_eq!(tokens.table(), expected);
        let rows = tokens.csv_rows();
        assert_eq!(rows[0]["grants"], json!(["prod/web", "prod/apps", "staging"]));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&rows[0]), keys(&tokens.empty_row()));
    }

    #[test]
    fn a_new_secret_is_shown_on_a_separate_line_and_in_json() {
        let single = |secret: &str| Single {
            heading: Some("Created:".into()),
            resource: TokenView::written(Some(token("ci")), Some(secret.into())),
        };
        let (output, json) = (single("pbk_secret").table(), single("pbk_secret").json());
        assert!(
            output.contains("\n    pbk_secret\n") && output.contains("PORTBOOK_TOKEN=pbk_secret\n")
        );
        assert_eq!(json["secret"], "pbk_secret");
        let (output, json) = (single("").table(), single("").json());
        assert!(!output.contains("PORTBOOK_TOKEN"), "{output}");
        assert_eq!(json["secret"], Value::Null);
    }
}
