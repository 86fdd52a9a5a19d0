//! Grants of a registrar as the command line shows them: `prod`, or `prod/web` for a pool.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::cli::session::Session;
use crate::cli::{Error, output};
use crate::grpc::proto;
use crate::registry::name::{NameError, NamespaceName, PoolName};

/// A namespace, or one of its pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantScope {
    namespace: NamespaceName,
    pool: Option<PoolName>,
}

impl FromStr for GrantScope {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, pool) = match text.split_once('/') {
            Some((namespace, pool)) => (namespace, Some(pool)),
            None => (text, None),
        };
        Ok(Self { namespace: namespace.parse()?, pool: pool.map(str::parse).transpose()? })
    }
}

impl fmt::Display for GrantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pool {
            Some(pool) => write!(f, "{}/{pool}", self.namespace),
            None => self.namespace.fmt(f),
        }
    }
}

/// The scopes as proto grants, one per namespace.
pub(super) fn grants(scopes: &[GrantScope]) -> Result<Vec<proto::Grant>, Error> {
    let mut pools: BTreeMap<&NamespaceName, BTreeSet<Option<&PoolName>>> = BTreeMap::new();
    for scope in scopes {
        pools.entry(&scope.namespace).or_default().insert(scope.pool.as_ref());
    }
    let grant = |(namespace, pools): (&NamespaceName, BTreeSet<Option<&PoolName>>)| {
        // A grant can't contain both; dropping one of them would be a guess.
        if pools.len() > 1 && pools.contains(&None) {
            return Err(Error::Usage(format!(
                "--grant {namespace} includes all pools of the namespace: omit it, or omit the pools"
            )));
        }
        let pools = pools.into_iter().flatten().map(ToString::to_string).collect();
        Ok(proto::Grant { namespace: namespace.to_string(), pools })
    };
    pools.into_iter().map(grant).collect()
}

/// The grants in the format of `--grant`.
pub(super) fn scopes(grants: &[proto::Grant]) -> Vec<String> {
    let scopes = |grant: &proto::Grant| {
        let proto::Grant { namespace, pools } = grant;
        let namespace_scope = pools.is_empty().then(|| namespace.clone());
        let pool_scopes = pools.iter().map(|pool| format!("{namespace}/{pool}"));
        namespace_scope.into_iter().chain(pool_scopes).collect::<Vec<_>>()
    };
    grants.iter().flat_map(scopes).collect()
}

/// Prints a warning for each granted namespace or pool that does not exist. Such grants are valid,
/// but may be typos.
pub(super) async fn warn_missing(session: &Session, grants: &[proto::Grant]) {
    for proto::Grant { namespace, pools } in grants {
        if pools.is_empty() {
            let request = proto::GetNamespaceRequest { name: namespace.clone() };
            warn(session.send(request).await.err());
        }
        for pool in pools {
            let request =
                proto::GetPoolRequest { namespace: namespace.clone(), name: pool.clone() };
            let response = session.send(request).await;
            if warn(response.err()) == Missing::Namespace {
                break;
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Missing {
    Nothing,
    Namespace,
    Pool,
}

fn warn(error: Option<Error>) -> Missing {
    // Other errors are ignored: the token has been written.
    let Some(Error::Refused(refusal)) = error else { return Missing::Nothing };
    let word = |name| refusal.value(name);
    let (missing, resource) = match refusal.reason.as_str() {
        "NAMESPACE_NOT_FOUND" => (Missing::Namespace, format!("namespace {}", word("namespace"))),
        "POOL_NOT_FOUND" => {
            (Missing::Pool, format!("pool {} in namespace {}", word("pool"), word("namespace")))
        }
        _ => return Missing::Nothing,
    };
    let nearest = word("nearest").replace(',', ", ");
    let nearest = if nearest.is_empty() { nearest } else { format!(" (similar: {nearest})") };
    output::notice(&format!(
        "portbook: {resource} does not exist yet{nearest}; if this is a typo, replace the grants \
         with portbook token update"
    ));
    missing
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(scopes: &[&str]) -> Result<Vec<proto::Grant>, Error> {
        grants(&scopes.iter().map(|scope| scope.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn scopes_are_namespaces_and_pools() {
        let all = parse(&["prod/web", "staging", "prod/apps", "prod/web"]).unwrap();
        assert_eq!(scopes(&all), ["prod/apps", "prod/web", "staging"]);
        assert_eq!(all.len(), 2);
        let both = parse(&["prod/web", "prod"]).unwrap_err();
        assert!(
            matches!(&both, Error::Usage(message) if message.starts_with("--grant prod includes all"))
        );
        for text in ["", "/", "prod/", "/web", "Prod", "prod/web/x", "-"] {
            assert!(text.parse::<GrantScope>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(text in "[a-c]{1,2}(/[a-c]{1,2})?") {
            let scope: GrantScope = text.parse().unwrap();
            prop_assert_eq!(scope.to_string(), text.clone());
            prop_assert_eq!(scopes(&grants(&[scope]).unwrap()), [text]);
        }
    }
}
