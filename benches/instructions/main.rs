//! Repeats one operation, so that its instructions can be counted. See the script `run`.
//!
//! usage: instructions look_up|answer_all|decide_on|publish TIMES

#![expect(clippy::unwrap_used, reason = "a failure ends the measurement")]

#[path = "../common/registrations.rs"]
#[allow(dead_code, reason = "other measurements use more of it")]
mod registrations;

use std::collections::BTreeSet;
use std::env;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use portbook::grpc::admin_service::AdminService;
use portbook::grpc::layer::Calls;
use portbook::grpc::layer::authenticate::Authenticate;
use portbook::grpc::layer::limit::{Limit, Limits};
use portbook::grpc::layer::observe::Observe;
use portbook::grpc::layer::peer::Peer;
use portbook::grpc::layer::rate_limit::RateLimit;
use portbook::grpc::proto::port_admin_service_server::PortAdminServiceServer;
use portbook::grpc::proto::port_registry_service_server::PortRegistryServiceServer;
use portbook::grpc::registry_service::RegistryService;
use portbook::grpc::services::Services;
use portbook::grpc::wire::encode_port_info;
use portbook::metrics::Metrics;
use portbook::registry::assignment::{Revision, Uid};
use portbook::registry::change::Change;
use portbook::registry::decide::{Context, decide};
use portbook::registry::finding::FindingCode;
use portbook::registry::port::{Port, Transport};
use portbook::registry::snapshot::Snapshot;
use portbook::store::Store;
use portbook::store::sqlite::SqliteStore;
use portbook::writer::{Clock, Environment, writer};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use uuid::Uuid;

use crate::registrations::{namespace, reference, register, registration, snapshot, view};

fn main() {
    let mut arguments = env::args().skip(1);
    let (what, times) = (arguments.next().unwrap(), arguments.next().unwrap().parse().unwrap());
    match what.as_str() {
        "look_up" => look_up(&registry(), times),
        "answer_all" => {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            answer_all(&runtime, &calls(&runtime), times);
        }
        "decide_on" => decide_on(&registry(), times),
        "publish" => publish(&registry(), times),
        other => unreachable!("unknown operation {other}"),
    }
}

fn registry() -> Snapshot {
    snapshot(&reference(), (1, 5_000))
}

// The instructions of these three functions and `answer_all` are counted. They are found by name, so they
// must not be inlined.

/// Looks up a port in a snapshot and encodes the response.
#[inline(never)]
fn look_up(snapshot: &Snapshot, times: u32) {
    for _ in 0..times {
        let info = view(snapshot).lookup_port(black_box(Port::new(443)), Some(Transport::Tcp));
        black_box(encode_port_info(snapshot.reference(), &info, &[]));
    }
}

/// Decides a registration that is accepted.
#[inline(never)]
fn decide_on(snapshot: &Snapshot, times: u32) {
    let command = register(30_000, FindingCode::ALL.into_iter().collect::<BTreeSet<_>>());
    let mut new_uid = || Uid::new(Uuid::from_u128(1 << 90));
    for _ in 0..times {
        let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
        black_box(decide(snapshot, black_box(&command), &mut context).unwrap());
    }
}

/// Applies a registration to a snapshot.
#[inline(never)]
fn publish(snapshot: &Snapshot, times: u32) {
    let change = [Change::Registered { after: registration(&namespace(0), 0, 4 * 30_000) }];
    for _ in 0..times {
        black_box(snapshot.after(Revision(2), black_box(&change)));
    }
}

const METHOD: &str = "portbook.v1.PortRegistryService/LookupPort";

/// A complete LookupPort without HTTP/2: from the received request to the last frame of the response.
#[inline(never)]
fn answer_all(runtime: &Runtime, calls: &Calls, times: u32) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
    let peer = Arc::new(Peer::new(address, None));
    // Port 443, with the prefix of a gRPC message.
    let message = Bytes::from_static(&[0, 0, 0, 0, 3, 8, 0xbb, 3]);
    runtime.block_on(async {
        for _ in 0..times {
            let request = Request::post(format!("http://localhost/{METHOD}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(message.clone()))
                .unwrap();
            let response = calls.call(&peer, request).await.into_body().collect().await.unwrap();
            assert_eq!(response.trailers().unwrap()["grpc-status"], "0");
            assert!(response.to_bytes().len() > 500);
        }
    });
}

fn calls(runtime: &Runtime) -> Calls {
    let (metrics, _) = Metrics::new([METHOD]);
    let metrics = Arc::new(metrics);
    let (store, loaded) = runtime.block_on(async {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded();
        (store, loaded)
    });
    let (history, id) = (store.history(), Arc::<str>::from("bench"));
    let environment = Environment::system(Clock::system(), Arc::clone(&metrics));
    let (handle, _) = writer(store, loaded, environment);
    let limits = Limits {
        calls: 1024,
        streaming_calls: 1024,
        timeout: Duration::from_secs(10),
        receive_timeout: Duration::from_secs(5),
        request_bytes: 1024,
    };
    let stop = CancellationToken::new();
    let registry = RegistryService::new(handle.clone(), history, Arc::clone(&id), stop);
    let rate = RateLimit::new(None, Arc::clone(&metrics));
    Calls {
        observe: Observe::new(Arc::clone(&metrics), None),
        authenticate: Authenticate::new(handle.clone(), rate, false),
        limit: Limit::new(limits, metrics),
        services: Services {
            registry: PortRegistryServiceServer::new(registry),
            admin: PortAdminServiceServer::new(AdminService::new(handle, id)),
            others: Routes::default(),
        },
    }
}
