//! `portbook check`: whether a service may register ports, and the findings.

use std::collections::BTreeMap;

use clap::Args;
use itertools::Itertools;
use serde_json::{Value, json};

use super::args::{AcknowledgeArgs, NamespaceArgs, OutputArgs, ReadArgs};
use super::output::finding::{self, codes_to_acknowledge, evidence, line, outcome};
use super::output::lists::{range_objects, ranges};
use super::output::record::{text, timestamp};
use super::output::{self, enum_names, table};
use super::parse::PortSpec;
use super::session::Session;
use super::{Error, ExitStatus};
use crate::grpc::{convert, proto};
use crate::registry::port::Transport;

/// The maximum number of port ranges in one call.
const MAX_RANGES: usize = 100;

/// The arguments of `portbook check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The service name, or - to check the ports without a name.
    service: String,

    /// The ports: 7421, 7421/tcp, 7421/tcp,udp or 7000-7010/udp. The default transport is tcp.
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortSpec>,

    /// The pool to register the ports in.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pool: String,

    #[command(flatten)]
    acknowledge: AcknowledgeArgs,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl CheckArgs {
    pub(super) async fn run(self) -> Result<ExitStatus, Error> {
        let Self { service, ports, pool, acknowledge, namespace, read, output } = self;
        let acknowledged = acknowledge.codes();
        let template = proto::CheckPortRequest {
            namespace: namespace.namespace,
            service_name: if service == "-" { String::new() } else { service },
            pool,
            acknowledge: acknowledged.clone(),
            ..proto::CheckPortRequest::default()
        };
        let session = Session::open(&read).await?;
        let mut verdicts: BTreeMap<usize, proto::Verdict> = BTreeMap::new();
        for (transports, indexes) in calls(&ports) {
            let transports = transports.iter().copied().map(Some).map(convert::transport);
            let ranges = indexes.iter().map(|&index| convert::port_range(ports[index].ports));
            let request = proto::CheckPortRequest {
                ports: ranges.collect(),
                transports: transports.map(i32::from).collect(),
                ..template.clone()
            };
            let response = session.send(request).await?;
            verdicts.extend(indexes.into_iter().zip(response.verdicts));
        }
        if verdicts.len() < ports.len() {
            return Err(Error::IncompleteResponse);
        }
        let verdicts: Vec<_> = ports.into_iter().zip(verdicts.into_values()).collect();
        let is_accepted =
            verdicts.iter().all(|(_, verdict)| verdict.outcome() == proto::Outcome::Accepted);
        output::show(output.output, &Verdicts { verdicts, acknowledged })?;
        Ok(ExitStatus::accepted(is_accepted))
    }
}

/// Groups the ports into calls: the transports of a call and the indexes of its ports.
fn calls(ports: &[PortSpec]) -> Vec<(&[Transport], Vec<usize>)> {
    let mut groups: BTreeMap<&[Transport], Vec<usize>> = BTreeMap::new();
    for (index, spec) in ports.iter().enumerate() {
        groups.entry(&spec.transports).or_default().push(index);
    }
    let groups = groups.into_iter().flat_map(|(transports, indexes)| {
        let chunks = indexes.chunks(MAX_RANGES).map(<[usize]>::to_vec).collect::<Vec<_>>();
        chunks.into_iter().map(move |indexes| (transports, indexes))
    });
    groups.collect()
}

struct Verdicts {
    verdicts: Vec<(PortSpec, proto::Verdict)>,
    acknowledged: Vec<i32>,
}

impl Verdicts {
    fn paragraph(&self, spec: &PortSpec, verdict: &proto::Verdict) -> String {
        let mut lines = vec![format!("{spec} · {}", outcome(verdict))];
        for finding in &verdict.findings {
            lines.push(format!("  {}", line(finding, &self.acknowledged)));
            lines.extend(evidence(finding).map(|facts| format!("    {facts}")));
        }
        if !verdict.alternatives.is_empty() {
            lines.push(format!("  free nearby: {}", ranges(&verdict.alternatives)));
        }
        if verdict.outcome() == proto::Outcome::AcknowledgementRequired {
            let codes = codes_to_acknowledge([verdict]);
            lines.push(format!("  to override: --acknowledge {codes}"));
        }
        lines.join("\n") + "\n"
    }
}

fn object(spec: &PortSpec, verdict: &proto::Verdict) -> Value {
    json!({
        "first_port": spec.ports.first().number(),
        "last_port": spec.ports.last().number(),
        "transports": spec.transports.iter().map(|of| of.name()).collect::<Vec<_>>(),
        "outcome": enum_names::name(verdict.outcome()),
        "findings": verdict.findings.iter().map(finding::object).collect::<Vec<_>>(),
        "alternatives": range_objects(&verdict.alternatives),
    })
}

/// The CSV row of a finding, or of a verdict without findings.
fn row(spec: &PortSpec, verdict: &proto::Verdict, finding: &proto::Finding) -> Value {
    let evidence = finding.evidence.clone().unwrap_or_default();
    json!({
        "first_port": spec.ports.first().number(),
        "last_port": spec.ports.last().number(),
        "transports": spec.transports.iter().map(|of| of.name()).collect::<Vec<_>>(),
        "outcome": enum_names::name(verdict.outcome()),
        "code": enum_names::name(finding.code()),
        "severity": enum_names::name(finding.severity()),
        "transport": enum_names::transport(finding.transport()),
        "message": text(&finding.message),
        "evidence_uid": text(&evidence.uid),
        "evidence_service_name": text(&evidence.service_name),
        "evidence_pool": text(&finding.evidence_pool),
        "end_time": timestamp(finding.end_time),
        "alternatives": verdict.alternatives.iter().map(|&of| table::ports(Some(of))).collect::<Vec<_>>(),
    })
}

impl output::View for Verdicts {
    fn table(&self) -> String {
        self.verdicts.iter().map(|(spec, verdict)| self.paragraph(spec, verdict)).join("\n")
    }

    fn objects(&self) -> Vec<Value> {
        self.verdicts.iter().map(|(spec, verdict)| object(spec, verdict)).collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        let none = [proto::Finding::default()];
        let rows = self.verdicts.iter().flat_map(|(spec, verdict)| {
            let findings = if verdict.findings.is_empty() { &none[..] } else { &verdict.findings };
            findings.iter().map(|finding| row(spec, verdict, finding)).collect::<Vec<_>>()
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::View;

    fn specs(text: &str) -> Vec<PortSpec> {
        text.split(' ').map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn a_call_has_one_set_of_transports_and_at_most_100_ports() {
        let ports = specs("1/tcp 2/udp 3 4/tcp,udp 5/udp");
        let calls = super::calls(&ports);
        let shown: Vec<_> = calls.iter().map(|(of, indexes)| (of.len(), indexes.clone())).collect();
        assert_eq!(shown, [(1, vec![0, 2]), (2, vec![3]), (1, vec![1, 4])]);
        let many = vec![ports[0].clone(); 250];
        let sizes: Vec<_> = super::calls(&many).iter().map(|(_, indexes)| indexes.len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
    }

    #[test]
    fn a_verdict_shows_findings_alternatives_and_the_override() {
        let iana = proto::Finding {
            code: proto::FindingCode::IanaAssigned.into(),
            severity: proto::Severity::Acknowledge.into(),
            message: "IANA has assigned 5432/tcp to postgresql".into(),
            ..proto::Finding::default()
        };
        let cooling = proto::Finding {
            code: proto::FindingCode::CoolingDown.into(),
            end_time: Some(prost_types::Timestamp::default()),
            message: "5432/tcp was released by billing".into(),
            ..iana.clone()
        };
        let single = |port| proto::PortRange { first: Some(port), last: Some(port) };
        let verdict = proto::Verdict {
            outcome: proto::Outcome::AcknowledgementRequired.into(),
            findings: vec![iana, cooling],
            alternatives: vec![single(5433), single(5431)],
            ..proto::Verdict::default()
        };
        let accepted =
            proto::Verdict { outcome: proto::Outcome::Accepted.into(), ..Default::default() };
        let ports = specs("5432 7450/tcp,udp");
        let acknowledged = vec![proto::FindingCode::CoolingDown.into()];
        let verdicts = ports.into_iter().zip([verdict, accepted]).collect();
        let verdicts = Verdicts { verdicts, acknowledged };
        let expected = "\
5432/tcp · acknowledgement required
  acknowledge IANA_ASSIGNED: IANA has assigned 5432/tcp to postgresql
  acknowledged COOLING_DOWN: 5432/tcp was released by billing
    ends: 1970-01-01T00:00:00Z
  free nearby: 5433, 5431
  to override: --acknowledge IANA_ASSIGNED,COOLING_DOWN

7450/tcp,udp · accepted
";
        assert_eq!(verdicts.table(), expected);
        let rows = verdicts.csv_rows();
        let codes: Vec<_> = rows.iter().map(|row| row["code"].as_str()).collect();
        assert_eq!(codes, [Some("IANA_ASSIGNED"), Some("COOLING_DOWN"), None]);
        assert_eq!(verdicts.objects()[0]["alternatives"][1], json!({"first": 5431, "last": 5431}));
    }
}
