//! Whatever arrives, the answer is an answer or a refusal with its reason, in bounded time: no
//! request makes the server fail.
//!
//! Requests are made from the descriptors, so that a new rpc or field is met as well: none, extreme
//! and likely values of each field, then bytes of it changed, or no message at all. `PROPTEST_CASES`
//! (default 256) says how many cases each test has; one of requests has 64 calls.

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

/// How many calls are made at a time.
const CALLS: usize = 64;
/// The longest that one call may take while so many share the machine with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is sent to which rpc.
#[derive(Clone, Debug)]
struct Sent {
    method: usize,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Arbitrary(Vec<u8>),
    /// A message as chance has it, then these bytes of it changed, and what is behind one cut off.
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
                for (place, byte) in changed {
                    let length = bytes.len().max(1);
                    if let Some(there) = bytes.get_mut(usize::from(*place) % length) {
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

/// That this is an answer, or a refusal as all refusals are; its code.
fn proper<T>(answer: Result<T, Status>) -> Result<Code, TestCaseError> {
    let Err(status) = answer else { return Ok(Code::Ok) };
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
    prop_assert!(!is_fault, "a fault: {status:?}");
    Ok(status.code())
}

/// Tells what it found, and keeps no file of it.
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
        // One for each case: a client ends a connection on which it has ended too many watches.
        let channel = runtime.block_on(server.channel());
        let calls = all.iter().map(|sent| {
            let (path, bytes) = sent.path_and_bytes(&api);
            let channel = channel.clone();
            async move {
                let asked = Instant::now();
                let answer = call_with(channel, &path, bytes, Some(TOKEN)).await;
                (path, answer, asked.elapsed())
            }
        });
        let calls = tokio::time::timeout(PATIENCE, join_all(calls));
        let answers = runtime.block_on(calls);
        let Ok(answers) = answers else { return Err(TestCaseError::fail("too slow")) };
        for (path, answer, took) in answers {
            let code =
                proper(answer).map_err(|fault| TestCaseError::fail(format!("{path}: {fault}")))?;
            if took > slowest.borrow().0 {
                slowest.replace((took, path.clone()));
            }
            *tallies.borrow_mut().entry((path, format!("{code:?}"))).or_default() += 1;
        }
        Ok(())
    });
    tested.unwrap_or_else(|fault| panic!("{fault}"));
    // It is the same server, and it serves.
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
    assert!(answered * 3 > api.methods.len() * 2, "hardly any request was a good one");
}

/// A place with anything in it, as the place of an assignment or a change is encoded.
#[derive(Clone, PartialEq, Message)]
struct AnyPlace {
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

/// A place with any names in it.
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
    /// Made as the server does, which is no secret, of a place that it would not name.
    Forged(AnyPlace, AnyNames),
}

impl Token {
    /// As a request for that list has it, whose places are names or not.
    fn text(&self, binding: &Binding, has_names: bool) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) => BASE64_URL_SAFE_NO_PAD.encode(bytes),
            Self::Forged(_, names) if has_names => binding.token(names),
            Self::Forged(place, _) => binding.token(place),
        }
    }
}

fn tokens() -> impl Strategy<Value = Token> {
    let number = || proptest::sample::select(&NUMBERS[..]);
    let text = || proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned);
    let place = (number(), number(), number(), number(), proptest::option::of(text()));
    let place =
        place.prop_map(|(one, two, three, four, five)| AnyPlace { one, two, three, four, five });
    let names = (text(), text()).prop_map(|(one, two)| AnyNames { one, two });
    prop_oneof![
        ".{1,80}".prop_map(Token::Text),
        proptest::collection::vec(any::<u8>(), 1..80).prop_map(Token::Bytes),
        (place, names).prop_map(|(place, names)| Token::Forged(place, names)),
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
                proper(reads.list_assignments(page).await)?,
                proper(reads.list_changes(history).await)?,
                proper(reads.list_namespaces(spaces).await)?,
                proper(reads.list_pools(fleet).await)?,
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
    /// Endpoints as people write them, with mistakes in them.
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
        for (place, kind, character) in mistakes {
            let place = place % (text.len() + 1);
            match kind {
                0 => text.insert(place, character),
                1 if place < text.len() => text[place] = character,
                _ if place < text.len() => drop(text.remove(place)),
                _ => {}
            }
        }
        let text = text.into_iter().collect::<String>().repeat(times);
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.to_string().parse::<Endpoint>(), Ok(endpoint), "{:?}", text);
        }
    }
}
