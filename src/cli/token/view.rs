//! How tokens are told.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::grant;
use crate::cli::output::record::{text, timestamp};
use crate::cli::output::{self, Format, clean, enum_names, table};
use crate::cli::{Error, ExitStatus};
use crate::grpc::proto;

/// The token as an object, in the order of the API.
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

/// The object with the grants as `--grant` takes them.
fn row(token: &proto::Token) -> Value {
    let mut object = object(token);
    object["grants"] = json!(grant::words(&token.grants));
    object
}

fn role(token: &proto::Token) -> String {
    enum_names::role(token.role).unwrap_or("-").to_lowercase()
}

fn grants(token: &proto::Token) -> String {
    clean(&grant::words(&token.grants).join(", "))
}

fn has_ended(token: &proto::Token, now: Timestamp) -> bool {
    token
        .expire_time
        .is_some_and(|end| (end.seconds, end.nanos) <= (now.as_second(), now.subsec_nanosecond()))
}

/// Until when it is good, or since when not.
fn until(token: &proto::Token, now: Timestamp) -> String {
    match (token.revoke_time, token.expire_time) {
        (Some(revoked), _) => format!("revoked {}", table::time(revoked)),
        (None, Some(end)) if has_ended(token, now) => format!("ended {}", table::time(end)),
        (None, Some(end)) => table::time(end),
        (None, None) => "without end".into(),
    }
}

/// What its holder may do, in words.
fn rights(token: &proto::Token) -> String {
    match token.role() {
        proto::Role::Unspecified => String::new(),
        proto::Role::Viewer => "read".into(),
        proto::Role::Registrar => {
            format!("read; take, change and give back ports in {}", grants(token))
        }
        proto::Role::Admin => "do everything, with namespaces, pools and tokens too".into(),
    }
}

fn credential(token: &proto::Token) -> String {
    match token.credential() {
        proto::Credential::Unspecified => String::new(),
        proto::Credential::Certificate => "a client certificate with its name".into(),
        proto::Credential::Secret => match token.rotate_time {
            Some(made) => format!("a secret, made {}", table::time(made)),
            None => "a secret".into(),
        },
    }
}

/// Tokens in a row each.
fn rows<'t>(tokens: impl IntoIterator<Item = &'t proto::Token>, now: Timestamp) -> String {
    let header = ["NAME", "ROLE", "GRANTS", "KNOWN BY", "UNTIL", "DESCRIPTION"].map(String::from);
    let word = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let rows = tokens.into_iter().map(|token| {
        let name = clean(&token.name);
        let known_by = enum_names::credential(token.credential).unwrap_or("-").to_lowercase();
        let description = clean(&token.description);
        vec![name, role(token), word(grants(token)), known_by, until(token, now), description]
    });
    table::render(Some(header.to_vec()), rows)
}

/// Several tokens.
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

/// Everything of a token.
pub(super) struct Whole {
    pub(super) token: proto::Token,
    pub(super) now: Timestamp,
}

impl output::View for Whole {
    fn table(&self) -> String {
        let token = &self.token;
        let moment =
            |time: Option<prost_types::Timestamp>| time.map(table::time).unwrap_or_default();
        let by = |creator: &str| format!("{} by {}", moment(token.create_time), clean(creator));
        table::properties([
            ("name", clean(&token.name)),
            ("description", clean(&token.description)),
            ("role", role(token)),
            ("may", rights(token)),
            ("until", until(token, self.now)),
            ("known by", credential(token)),
            ("old secret until", moment(token.former_expire_time)),
            ("created", by(&token.creator)),
            ("changed", moment(token.update_time)),
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

/// A token after a change.
pub(super) struct Changed {
    pub(super) done: &'static str,
    pub(super) token: proto::Token,
}

impl output::View for Changed {
    fn table(&self) -> String {
        let changed = self.token.update_time.unwrap_or_default();
        format!("{}:\n{}", self.done, rows([&self.token], as_of(changed)))
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

/// The time of the server, by which a change is told.
fn as_of(time: prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or_default()
}

/// A token with its secret, which is shown this once.
pub(super) struct Made {
    pub(super) done: &'static str,
    pub(super) token: proto::Token,
    /// Empty for a token that is known by a certificate.
    pub(super) secret: String,
}

impl Made {
    /// Tells the token and its secret, or the secret alone.
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

impl output::View for Made {
    fn table(&self) -> String {
        let made = self.token.update_time.unwrap_or_default();
        let table = format!("{}:\n{}", self.done, rows([&self.token], as_of(made)));
        let secret = &self.secret;
        if secret.is_empty() {
            return format!(
                "{table}\nIt has no secret: its holder shows a client certificate that has its name, \
                 with --cert and --key.\n"
            );
        }
        let former = self
            .token
            .former_expire_time
            .map(|end| format!("\nThe secret before it is taken until {}.\n", table::time(end)));
        format!(
            "{table}\nIts secret, shown this once:\n\n    {secret}\n\nTo use it:\n\n    export \
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
    fn tokens_read_well_and_tell_that_they_have_ended() {
        let tokens = vec![
            token("ci"),
            proto::Token { expire_time: Some(at(60)), ..token("late") },
            proto::Token { expire_time: Some(at(90)), grants: vec![], role: 1, ..token("soon") },
            proto::Token { revoke_time: Some(at(30)), expire_time: Some(at(60)), ..token("gone") },
        ];
        let tokens = Tokens { tokens, now: Timestamp::from_second(60).unwrap() };
        let expected = "\
NAME  ROLE       GRANTS                        KNOWN BY  UNTIL                         DESCRIPTION
ci    registrar  prod/web, prod/apps, staging  secret    without end                   Deploys�
late  registrar  prod/web, prod/apps, staging  secret    ended 1970-01-01T00:01:00Z    Deploys�
soon  viewer     -                             secret    1970-01-01T00:01:30Z          Deploys�
gone  registrar  prod/web, prod/apps, staging  secret    revoked 1970-01-01T00:00:30Z  Deploys�
";
        assert_eq!(tokens.table(), expected);
        let rows = tokens.csv_rows();
        assert_eq!(rows[0]["grants"], json!(["prod/web", "prod/apps", "staging"]));
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&rows[0]), keys(&tokens.empty_row()));
    }

    #[test]
    fn a_secret_stands_out_and_is_there_for_programs() {
        let made = Made { done: "Created", token: token("ci"), secret: "pbk_secret".into() };
        let told = made.table();
        assert!(
            told.contains("\n    pbk_secret\n") && told.contains("PORTBOOK_TOKEN=pbk_secret\n")
        );
        assert_eq!(made.json()["secret"], "pbk_secret");
        let known = Made { secret: String::new(), ..made };
        assert!(!known.table().contains("PORTBOOK_TOKEN"), "{}", known.table());
        assert_eq!(known.json()["secret"], Value::Null);
    }
}
