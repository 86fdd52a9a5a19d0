//! Any request gets a response or a refusal with a reason, in bounded time; no request causes an
//! internal error.
//!
//! Requests are generated from the descriptors, so that new rpcs and fields are covered: absent,
//! extreme
//! and likely values of each field, then modified bytes, or no message at all. `PROPTEST_CASES`
//! (default 256) is the number of cases per test; a case of requests has 64 calls.

mod api;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use portbook::grpc::page_token::Binding;
use portbook::grpc::proto::{self, PortRange};
use portbook::registry::endpoint::Endpoint;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use self::api::{Api, Choices, NUMBERS, TEXTS};
use crate::harness::{Server, TOKEN, create_pool, namespace, pool, register};
use crate::raw_calls::call_with;

/// The number of concurrent calls.
const CALLS: usize = 64;
/// The time limit of a call, while other tests share the machine.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// A request: the rpc and the body.
#[derive(Clone, Debug)]
struct Sent {
    method: usize,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Arbitrary(Vec<u8>),
    /// A random message, then these bytes of it changed, and the rest truncated.
    Message {
        choices: Vec<u8>,
        changed: Vec<(u16, u8)>,
        cut: Option<u16>,
    },
}

fn sent() -> impl Strategy<Value = Sent> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    let body = prop_oneof![
        1 => bytes(300).prop_map(Body::Arbitrary),
        3 => bytes(200).prop_map(|choices| Body::Message {
            choices,
            changed: Vec::new(),
            cut: None
        }),
        2 => (bytes(200), proptest::collection::vec(any::<(u16, u8)>(), 1..4), any::<Option<u16>>())
            .prop_map(|(choices, changed, cut)| Body::Message { choices, changed, cut }),
    ];
    (0..1_000_usize, body).prop_map(|(method, body)| Sent { method, body })
}

impl Sent {
    fn path_and_bytes(&self, api: &Api) -> (String, Vec<u8>) {
        let (path, input) = &api.methods[self.method % api.methods.len()];
        let bytes = match &self.body {
            Body::Arbitrary(bytes) => bytes.clone(),
            Body::Message { choices, changed, cut } => {
                let mut bytes = api.message(input, &mut Choices::of(choices), 5);
                for (position, byte) in changed {
                    let length = bytes.len().max(1);
                    if let Some(there) = bytes.get_mut(usize::from(*position) % length) {
                        *there = *byte;
                    }
                }
                bytes.truncate(cut.map_or(usize::MAX, |cut| usize::from(cut) % (bytes.len() + 1)));
                bytes
            }
        };
        (path.clone(), bytes)
    }
}

/// Asserts that this is a response or a well-formed refusal; returns its code.
fn check_response<T>(response: Result<T, Status>) -> Result<Code, TestCaseError> {
    let Err(status) = response else { return Ok(Code::Ok) };
    let details = status.get_error_details();
    let known = details.error_info().filter(|info| info.domain == "portbook");
    let is_known = known.is_some_and(|info| {
        proto::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)).is_some()
    });
    prop_assert!(is_known, "no reason: {status:?}");
    let is_fault = matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable | Code::Cancelled
    );
    prop_assert!(!is_fault, "an internal error: {status:?}");
    Ok(status.code())
}

/// Reports failures without writing a file.
fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })
}

#[test]
fn any_request_gets_a_response_or_a_refusal() {
    let (runtime, api) = (Runtime::new().unwrap(), Api::read());
    let server = Server::start();
    runtime.block_on(async {
        let mut writes = server.writes().await;
        writes.create_namespace(namespace("lab", proto::NamespacePolicy::default())).await.unwrap();
        for namespace in ["default", "lab"] {
            let pool = proto::Pool { namespace: namespace.into(), ..pool("apps", 29_600, 29_900) };
            writes.create_pool(create_pool(pool)).await.unwrap();
        }
    });
    let _within = runtime.enter();
    let tallies = std::cell::RefCell::new(BTreeMap::<(String, String), usize>::new());
    let slowest = std::cell::RefCell::new((Duration::ZERO, String::new()));
    let started = Instant::now();
    let mut runner = runner();
    let all = proptest::collection::vec(sent(), CALLS);
    let tested = runner.run(&all, |all| {
        // One for each case: a client closes a connection on which it has reset too many watches.
        let channel = runtime.block_on(server.channel());
        let calls = all.iter().map(|sent| {
            let (path, bytes) = sent.path_and_bytes(&api);
            let channel = channel.clone();
            async move {
                let requested = Instant::now();
                let response = call_with(channel, &path, bytes, Some(TOKEN)).await;
                (path, response, requested.elapsed())
            }
        });
        let calls = tokio::time::timeout(CALL_TIMEOUT, join_all(calls));
        let responses = runtime.block_on(calls);
        let Ok(responses) = responses else { return Err(TestCaseError::fail("too slow")) };
        for (path, response, took) in responses {
            let code = check_response(response)
                .map_err(|fault| TestCaseError::fail(format!("{path}: {fault}")))?;
            if took > slowest.borrow().0 {
                slowest.replace((took, path.clone()));
            }
            *tallies.borrow_mut().entry((path, format!("{code:?}"))).or_default() += 1;
        }
        Ok(())
    });
    tested.unwrap_or_else(|fault| panic!("{fault}"));
    // The server is still the same process, and serves.
    runtime.block_on(server.lookup(443));
    let tallies = tallies.into_inner();
    let (took, path) = slowest.into_inner();
    println!(
        "{} calls in {:.1?}; the slowest took {took:.1?}: {path}",
        tallies.values().sum::<usize>(),
        started.elapsed()
    );
    let answered = tallies.keys().filter(|(_, code)| code == "Ok").count();
    println!("{answered} of {} rpcs have answered: {tallies:#?}", api.methods.len());
    assert!(answered * 3 > api.methods.len() * 2, "too few requests were valid");
}

/// Any encoded position of an assignment or a change.
#[derive(Clone, PartialEq, Message)]
struct AnyPosition {
    #[prost(uint64, tag = "1")]
    one: u64,
    #[prost(uint64, tag = "2")]
    two: u64,
    #[prost(uint64, tag = "3")]
    three: u64,
    #[prost(uint64, tag = "4")]
    four: u64,
    #[prost(string, optional, tag = "5")]
    five: Option<String>,
}

/// A position with any names.
#[derive(Clone, PartialEq, Message)]
struct AnyNames {
    #[prost(string, tag = "1")]
    one: String,
    #[prost(string, tag = "2")]
    two: String,
}

#[derive(Clone, Debug)]
enum Token {
    Text(String),
    Bytes(Vec<u8>),
    /// Encoded like the server does, with a position that the server would not return.
    Forged(AnyPosition, AnyNames),
}

impl Token {
    /// The token text for a list whose positions are names or not.
    fn text(&self, binding: &Binding, has_names: bool) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) => BASE64_URL_SAFE_NO_PAD.encode(bytes),
            Self::Forged(_, names) if has_names => binding.token(names),
            Self::Forged(position, _) => binding.token(position),
        }
    }
}

fn tokens() -> impl Strategy<Value = Token> {
    let number = || proptest::sample::select(&NUMBERS[..]);
    let text = || proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned);
    let position = (number(), number(), number(), number(), proptest::option::of(text()));
    let position = position.prop_map(|(one, two, three, four, five)| AnyPosition {
        one,
        two,
        three,
        four,
        five,
    });
    let names = (text(), text()).prop_map(|(one, two)| AnyNames { one, two });
    prop_oneof![
        ".{1,80}".prop_map(Token::Text),
        proptest::collection::vec(any::<u8>(), 1..80).prop_map(Token::Bytes),
        (position, names).prop_map(|(position, names)| Token::Forged(position, names)),
    ]
}

#[test]
fn an_invalid_page_token_is_refused() {
    let runtime = Runtime::new().unwrap();
    let server = Server::start();
    let id = runtime.block_on(async {
        let mut writes = server.writes().await;
        writes.create_namespace(namespace("lab", proto::NamespacePolicy::default())).await.unwrap();
        for number in 0..3 {
            writes.register_port(register("billing", 7_450 + number)).await.unwrap();
            let pool = pool(&format!("p{number}"), 29_500 + number * 10, 29_509 + number * 10);
            writes.create_pool(create_pool(pool)).await.unwrap();
        }
        server.info().await.database_id
    });
    let mut runner = runner();
    let reads = runtime.block_on(server.reads());
    let tested = runner.run(&(tokens(), any::<bool>()), |(token, newest_first)| {
        let ports = Some(PortRange { first: Some(7_450), last: Some(7_460) });
        let filter = proto::AssignmentFilter { ports, ..Default::default() };
        let list = proto::ListAssignmentsRequest { filter: Some(filter), ..Default::default() };
        let changes = proto::ListChangesRequest { newest_first, ..Default::default() };
        let namespaces = proto::ListNamespacesRequest::default();
        let pools = proto::ListPoolsRequest::default();
        let token_for = |binding: Binding, has_names| token.text(&binding, has_names);
        let page = proto::ListAssignmentsRequest {
            page_token: token_for(Binding::new(&id, "ListAssignments", &list), false),
            ..list
        };
        let history = proto::ListChangesRequest {
            page_token: token_for(Binding::new(&id, "ListChanges", &changes), false),
            ..changes
        };
        let spaces = proto::ListNamespacesRequest {
            page_token: token_for(Binding::new(&id, "ListNamespaces", &namespaces), true),
            ..namespaces
        };
        let fleet = proto::ListPoolsRequest {
            page_token: token_for(Binding::new(&id, "ListPools", &pools), true),
            ..pools
        };
        let mut reads = reads.clone();
        let codes = runtime.block_on(async {
            Ok::<_, TestCaseError>([
                check_response(reads.list_assignments(page).await)?,
                check_response(reads.list_changes(history).await)?,
                check_response(reads.list_namespaces(spaces).await)?,
                check_response(reads.list_pools(fleet).await)?,
            ])
        })?;
        let is_forged = matches!(token, Token::Forged(..));
        for code in codes {
            let is_expected = code == Code::InvalidArgument || (is_forged && code == Code::Ok);
            prop_assert!(is_expected, "{codes:?}");
        }
        Ok(())
    });
    tested.unwrap_or_else(|fault| panic!("{fault}"));
    runtime.block_on(server.lookup(443));
}

proptest! {
    /// Endpoints as people write them, with mistakes.
    #[test]
    fn a_malformed_endpoint_is_refused_or_parses_to_what_it_prints(
        good in proptest::sample::select(&[
            "32.23.55.21:80", "[2001:db8::1]:443", "[fe80::1%eth0]:22", "db.example.com:postgresql",
            ":22", "10.0.0.1:53/udp", "https://user:pass@example.com:8443/path?query#part",
            "tcp://[::1]:5432", "mysql://db",
        ][..]),
        mistakes in proptest::collection::vec(
            (any::<usize>(), 0..3_u8, prop_oneof![
                proptest::sample::select(&[':', '/', '[', ']', '%', '@', '.', '-', '0', '9', 'é', '\0', ' '][..]),
                any::<char>(),
            ]),
            0..5,
        ),
        times in prop_oneof![9 => Just(1_usize), 1 => 2..200_usize],
    ) {
        let mut text: Vec<char> = good.chars().collect();
        for (position, kind, character) in mistakes {
            let position = position % (text.len() + 1);
            match kind {
                0 => text.insert(position, character),
                1 if position < text.len() => text[position] = character,
                _ if position < text.len() => drop(text.remove(position)),
                _ => {}
            }
        }
        let text = text.into_iter().collect::<String>().repeat(times);
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint), "{:?}", text);
        }
    }
}
