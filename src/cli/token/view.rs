//! The output of tokens.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::grant;
use crate::cli::output::record::{text, timestamp};
use crate::cli::output::{self, Format, clean, enum_names, table};
use crate::cli::{Error, ExitStatus};
use crate::grpc::proto;

/// The token as a JSON object, in the field order of the API.
fn object(token: &proto::Token) -> Value {
    let grants = token.grants.iter();
    let grants = grants.map(|grant| json!({"namespace": grant.namespace, "pools": grant.pools}));
    json!({
        "name": text(&token.name),
        "description": text(&token.description),
        "role": enum_names::role(token.role),
        "grants": grants.collect::<Vec<_>>(),
        "credential": enum_names::credential(token.credential),
        "expire_time": timestamp(token.expire_time),
        "create_time": timestamp(token.create_time),
        "creator": text(&token.creator),
        "update_time": timestamp(token.update_time),
        "rotate_time": timestamp(token.rotate_time),
        "former_expire_time": timestamp(token.former_expire_time),
        "revoke_time": timestamp(token.revoke_time),
    })
}

/// The token as a CSV row, with the grants in the format of `--grant`.
fn row(token: &proto::Token) -> Value {
    let mut object = object(token);
    object["grants"] = json!(grant::scopes(&token.grants));
    object
}

fn role(token: &proto::Token) -> String {
    enum_names::role(token.role).unwrap_or("-").to_lowercase()
}

fn grants(token: &proto::Token) -> String {
    clean(&grant::scopes(&token.grants).join(", "))
}

fn has_expired(token: &proto::Token, now: Timestamp) -> bool {
    token
        .expire_time
        .is_some_and(|end| (end.seconds, end.nanos) <= (now.as_second(), now.subsec_nanosecond()))
}

/// The expiry of the token, or since when it is revoked or expired.
fn expiry(token: &proto::Token, now: Timestamp) -> String {
    match (token.revoke_time, token.expire_time) {
        (Some(revoked), _) => format!("revoked {}", table::time(revoked)),
        (None, Some(end)) if has_expired(token, now) => format!("expired {}", table::time(end)),
        (None, Some(end)) => table::time(end),
        (None, None) => "never".into(),
    }
}

/// The permissions of the role, as text.
fn permissions(token: &proto::Token) -> String {
    match token.role() {
        proto::Role::Unspecified => String::new(),
        proto::Role::Viewer => "read".into(),
        proto::Role::Registrar => {
            format!("read; register, update and release ports in {}", grants(token))
        }
        proto::Role::Admin => "all calls, including managing namespaces, pools and tokens".into(),
    }
}

fn credential(token: &proto::Token) -> String {
    match token.credential() {
        proto::Credential::Unspecified => String::new(),
        proto::Credential::Certificate => "a client certificate that contains its name".into(),
        proto::Credential::Secret => match token.rotate_time {
            Some(created) => format!("a secret, created {}", table::time(created)),
            None => "a secret".into(),
        },
    }
}

/// A table of tokens.
fn rows<'t>(tokens: impl IntoIterator<Item = &'t proto::Token>, now: Timestamp) -> String {
    let header =
        ["NAME", "ROLE", "GRANTS", "CREDENTIAL", "EXPIRES", "DESCRIPTION"].map(String::from);
    let cell = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let rows = tokens.into_iter().map(|token| {
        let name = clean(&token.name);
        let credential = enum_names::credential(token.credential).unwrap_or("-").to_lowercase();
        let description = clean(&token.description);
        vec![name, role(token), cell(grants(token)), credential, expiry(token, now), description]
    });
    table::render(Some(header.to_vec()), rows)
}

/// A list of tokens.
pub(super) struct Tokens {
    pub(super) tokens: Vec<proto::Token>,
    pub(super) now: Timestamp,
}

impl output::View for Tokens {
    fn table(&self) -> String {
        rows(&self.tokens, self.now)
    }

    fn objects(&self) -> Vec<Value> {
        self.tokens.iter().map(object).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        self.tokens.iter().map(row).collect()
    }

    fn empty_row(&self) -> Value {
        row(&proto::Token::default())
    }
}

/// All fields of a token.
pub(super) struct Details {
    pub(super) token: proto::Token,
    pub(super) now: Timestamp,
}

impl output::View for Details {
    fn table(&self) -> String {
        let token = &self.token;
        let text = |time: Option<prost_types::Timestamp>| time.map(table::time).unwrap_or_default();
        let by = |creator: &str| format!("{} by {}", text(token.create_time), clean(creator));
        table::properties([
            ("name", clean(&token.name)),
            ("description", clean(&token.description)),
            ("role", role(token)),
            ("permissions", permissions(token)),
            ("expires", expiry(token, self.now)),
            ("credential", credential(token)),
            ("old secret expires", text(token.former_expire_time)),
            ("created", by(&token.creator)),
            ("updated", text(token.update_time)),
        ])
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn csv_rows(&self) -> Vec<Value> {
        vec![row(&self.token)]
    }

    fn json(&self) -> Value {
        object(&self.token)
    }
}

/// A token after an update.
pub(super) struct Changed {
    pub(super) done: &'static str,
    pub(super) token: proto::Token,
}

impl output::View for Changed {
    fn table(&self) -> String {
        let updated = self.token.update_time.unwrap_or_default();
        format!("{}:\n{}", self.done, rows([&self.token], as_of(updated)))
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn csv_rows(&self) -> Vec<Value> {
        vec![row(&self.token)]
    }

    fn json(&self) -> Value {
        object(&self.token)
    }
}

/// The update time as a `Timestamp`. After a write, expiry is evaluated at the server's time.
fn as_of(time: prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or_default()
}

/// A token with its new secret, which can't be shown again.
pub(super) struct TokenWithSecret {
    pub(super) done: &'static str,
    pub(super) token: proto::Token,
    /// Empty for a token that is authenticated by a certificate.
    pub(super) secret: String,
}

impl TokenWithSecret {
    /// Prints the token and its secret, or only the secret.
    pub(super) fn print(&self, quiet: bool, format: Format) -> Result<ExitStatus, Error> {
        if quiet {
            output::print(&format!("{}\n", self.secret))
        } else {
            output::show(format, self)
        }
    }

    fn with_secret(&self, mut object: Value) -> Value {
        object["secret"] = json!(text(&self.secret));
        object
    }
}

impl output::View for TokenWithSecret {
    fn table(&self) -> String {
        let updated = self.token.update_time.unwrap_or_default();
        let table = format!("{}:\n{}", self.done, rows([&self.token], as_of(updated)));
        let secret = &self.secret;
        if secret.is_empty() {
            return format!(
                "{table}\nThe token has no secret: authenticate with a client certificate that contains its \
                 name (--cert and --key).\n"
            );
        }
        let former = self
            .token
            .former_expire_time
            .map(|end| format!("\nThe old secret remains valid until {}.\n", table::time(end)));
        format!(
            "{table}\nThe secret, which can't be shown again:\n\n    {secret}\n\nTo use it:\n\n    export \
             PORTBOOK_TOKEN={secret}\n{}",
            former.unwrap_or_default()
        )
    }

    fn objects(&self) -> Vec<Value> {
        vec![self.json()]
    }

    fn csv_rows(&self) -> Vec<Value> {
        vec![self.with_secret(row(&self.token))]
    }

    fn json(&self) -> Value {
        self.with_secret(object(&self.token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::View;

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
        let tokens = Tokens { tokens, now: Timestamp::from_second(60).unwrap() };
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
        let created =
            TokenWithSecret { done: "Created", token: token("ci"), secret: "pbk_secret".into() };
        let output = created.table();
        assert!(
            output.contains("\n    pbk_secret\n") && output.contains("PORTBOOK_TOKEN=pbk_secret\n")
        );
        assert_eq!(created.json()["secret"], "pbk_secret");
        let certificate = TokenWithSecret { secret: String::new(), ..created };
        assert!(!certificate.table().contains("PORTBOOK_TOKEN"), "{}", certificate.table());
        assert_eq!(certificate.json()["secret"], Value::Null);
    }
}
