//! AnnotatePorts: labels for streams of ports.

use portbook::grpc::proto::{AnnotatePortsRequest, Label, Source, State, Transport};
use tonic::Code;

use crate::harness::{FREE, Server, acknowledge_all, error_parts, register};

fn block(ports: &[u32], transports: &[Transport]) -> AnnotatePortsRequest {
    AnnotatePortsRequest {
        ports: ports.to_vec(),
        transports: transports.iter().map(|transport| (*transport).into()).collect(),
        ..Default::default()
    }
}

/// The labels of each block, with references to earlier labels resolved.
async fn annotate(server: &Server, blocks: Vec<AnnotatePortsRequest>) -> Vec<Vec<Label>> {
    let request = tokio_stream::iter(blocks);
    let mut responses = server.reads().await.annotate_ports(request).await.unwrap().into_inner();
    let mut known = Vec::new();
    let mut labels = Vec::new();
    while let Some(response) = responses.message().await.unwrap() {
        known.extend(response.new_labels);
        let label = |number: &u32| -> Label { Clone::clone(&known[*number as usize]) };
        labels.push(response.label_numbers.iter().map(label).collect());
    }
    labels
}

fn label(service_name: &str, state: State, source: Source) -> Label {
    Label { service_name: service_name.into(), state: state.into(), source: source.into() }
}

#[tokio::test]
async fn labels_are_in_the_order_of_the_ports() {
    let server = Server::start();
    let https = label("https", State::Assigned, Source::Iana);
    let labels = annotate(
        &server,
        vec![
            block(&[443, 22, 443], &[]),
            block(&[512, 512, 443], &[Transport::Tcp, Transport::Udp, Transport::Dccp]),
            block(&[4748, 25565, 60001, 1023], &[Transport::Tcp]),
        ],
    )
    .await;
    assert_eq!(labels[0], [https.clone(), label("ssh", State::Assigned, Source::Iana), https]);
    assert_eq!(
        labels[1],
        [
            label("exec", State::Assigned, Source::Iana),
            label("comsat", State::Assigned, Source::Iana),
            label("", State::Unlisted, Source::Unspecified),
        ]
    );
    assert_eq!(
        labels[2],
        [
            label("", State::Unassigned, Source::Iana),
            label("minecraft", State::Unlisted, Source::Common),
            label("", State::Unlisted, Source::Unspecified),
            label("", State::Reserved, Source::Iana),
        ]
    );
}

#[tokio::test]
async fn a_registration_changes_labels_from_the_next_block() {
    let server = Server::start();
    let mut writes = server.writes().await;
    writes.register_port(acknowledge_all(register("own-web", 443))).await.unwrap();
    writes.register_port(register("billing", FREE)).await.unwrap();
    let labels = annotate(
        &server,
        vec![block(&[443, FREE], &[Transport::Tcp]), block(&[443], &[Transport::Udp])],
    )
    .await;
    let custom = |name| label(name, State::Assigned, Source::Custom);
    assert_eq!(labels[0], [custom("own-web"), custom("billing")]);
    assert_eq!(labels[1], [label("https", State::Assigned, Source::Iana)]);
}

#[tokio::test]
async fn a_label_matches_the_lookup_of_the_port() {
    let server = Server::start();
    let ports: Vec<u32> = (0..65_536).step_by(97).collect();
    let labels = annotate(&server, vec![block(&ports, &[])]).await;
    for (port, label) in ports.iter().zip(&labels[0]) {
        let info = server.lookup(*port).await;
        let named = info.assignments.iter().find(|a| !a.service_name.is_empty());
        match named {
            Some(assignment) => {
                assert_eq!(label.service_name, assignment.service_name, "{port}");
                assert_eq!(label.source(), assignment.source(), "{port}");
            }
            None => {
                assert_eq!(label.service_name, "", "{port}");
                assert_eq!(label.state(), info.state(), "{port}");
            }
        }
    }
}

#[tokio::test]
async fn a_block_over_the_size_limit_is_refused_with_a_reason() {
    let server = Server::start();
    let large = AnnotatePortsRequest { namespace: "n".repeat(2_000_000), ..block(&[1], &[]) };
    let request = tokio_stream::iter(vec![block(&[443], &[]), large]);
    let mut responses = server.reads().await.annotate_ports(request).await.unwrap().into_inner();
    responses.message().await.unwrap();
    let (code, reason, _) = error_parts(responses.message().await);
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn an_invalid_block_ends_the_stream_with_an_error() {
    let server = Server::start();
    for (bad, field) in [
        (block(&[], &[]), "ports"),
        (block(&vec![1; 10_001], &[]), "ports"),
        (block(&[1, 65_536], &[]), "ports[1]"),
        (block(&[1, 2, 3], &[Transport::Tcp, Transport::Udp]), "transports"),
        (AnnotatePortsRequest { transports: vec![9], ..block(&[1], &[]) }, "transports"),
    ] {
        let request = tokio_stream::iter(vec![block(&[443], &[]), bad]);
        let mut responses =
            server.reads().await.annotate_ports(request).await.unwrap().into_inner();
        assert!(responses.message().await.unwrap().is_some());
        let (code, _, details) = error_parts(responses.message().await);
        assert_eq!(code, Code::InvalidArgument);
        assert_eq!(crate::harness::bad_fields(&details), [field]);
    }
}
