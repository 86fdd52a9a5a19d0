//! What is told of an import: a verdict for every registration, and what would help.

use itertools::Itertools;
use serde_json::{Value, json};

use super::row::Registration;
use crate::cli::output::finding::{self, codes_to_acknowledge, outcome};
use crate::cli::output::record::{self, text};
use crate::cli::output::{self, clean, enum_names, table};
use crate::grpc::{convert, proto};
use crate::registry::service_name::fold;

/// The registrations of a file, and what was decided of them.
pub(super) struct Report {
    pub(super) registrations: Vec<Registration>,
    /// One for each.
    pub(super) verdicts: Vec<proto::Verdict>,
    /// Those that were made: for each, one for each of its transports.
    pub(super) assignments: Vec<proto::Assignment>,
}

impl Report {
    /// How many would not be accepted.
    pub(super) fn refused(&self) -> usize {
        let is_accepted = |verdict: &&proto::Verdict| verdict.outcome() == proto::Outcome::Accepted;
        self.verdicts.len() - self.verdicts.iter().filter(is_accepted).count()
    }

    /// Leaves out what the same service holds on exactly these ports and all of these transports, and
    /// says how much that is.
    pub(super) fn leave_out_held(&mut self) -> usize {
        let cases = self.registrations.drain(..).zip(self.verdicts.drain(..)).enumerate();
        let (held, left): (Vec<_>, Vec<_>) =
            cases.partition(|(_, (registration, verdict))| is_held(registration, verdict));
        // What stands behind a finding is named by its place, and the places move.
        let mut places = vec![None; held.len() + left.len()];
        for (to, (from, _)) in (0u32..).zip(&left) {
            places[*from] = Some(to);
        }
        for (_, (registration, mut verdict)) in left {
            for finding in &mut verdict.findings {
                let place = finding.evidence_index.and_then(|from| places.get(from as usize));
                finding.evidence_index = place.copied().flatten();
            }
            self.registrations.push(registration);
            self.verdicts.push(verdict);
        }
        held.len()
    }

    /// The flags with which more would be accepted.
    pub(super) fn help(&self) -> Option<String> {
        let in_want = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.outcome() == proto::Outcome::AcknowledgementRequired);
        let codes = codes_to_acknowledge(in_want);
        let acknowledge = (!codes.is_empty()).then(|| format!("--acknowledge {codes}"));
        let invalid = i32::from(proto::FindingCode::InvalidServiceName);
        let mut findings = self.verdicts.iter().flat_map(|verdict| &verdict.findings);
        let shorten = findings.any(|finding| finding.code == invalid);
        let shorten = shorten.then(|| "--shorten-names".to_owned());
        let flags = acknowledge.into_iter().chain(shorten).join(" ");
        (!flags.is_empty()).then_some(flags)
    }

    /// The line of the registration that stands behind a finding.
    fn evidence_line(&self, finding: &proto::Finding) -> Option<usize> {
        let index = finding.evidence_index? as usize;
        self.registrations.get(index).map(|registration| registration.line)
    }

    fn finding(&self, finding: &proto::Finding, acknowledged: &[i32]) -> String {
        let line = self.evidence_line(finding).map(|line| format!(" (line {line})"));
        finding::line(finding, acknowledged) + &line.unwrap_or_default()
    }

    fn cases(&self) -> impl Iterator<Item = (&Registration, &proto::Verdict)> {
        self.registrations.iter().zip(&self.verdicts)
    }

    /// The assignments of each registration, in order.
    fn made(&self) -> impl Iterator<Item = &[proto::Assignment]> {
        let mut left = self.assignments.as_slice();
        self.registrations.iter().map(move |registration| {
            let (made, rest) = left.split_at(registration.transports.len().min(left.len()));
            left = rest;
            made
        })
    }

    fn row(
        &self,
        registration: &Registration,
        verdict: &proto::Verdict,
        finding: &proto::Finding,
    ) -> Value {
        json!({
            "line": registration.line,
            "namespace": text(&registration.request.namespace),
            "service_name": text(&registration.request.service_name),
            "first_port": registration.ports.first().number(),
            "last_port": registration.ports.last().number(),
            "transports": transports(registration),
            "outcome": enum_names::outcome(verdict.outcome),
            "code": enum_names::finding_code(finding.code),
            "severity": enum_names::severity(finding.severity),
            "message": text(&finding.message),
            "evidence_line": self.evidence_line(finding),
        })
    }
}

/// Whether the service of a registration holds its ports already, on each of its transports.
fn is_held(registration: &Registration, verdict: &proto::Verdict) -> bool {
    let name = &registration.request.service_name;
    let ports = Some(convert::port_range(registration.ports));
    registration.transports.iter().all(|&transport| {
        let transport = i32::from(convert::transport(Some(transport)));
        verdict.findings.iter().any(|finding| {
            finding.code() == proto::FindingCode::PortTaken
                && finding.transport == transport
                && finding.evidence.as_ref().is_some_and(|holder| {
                    !holder.uid.is_empty()
                        && holder.ports == ports
                        && fold(&holder.service_name) == fold(name)
                })
        })
    })
}

fn transports(registration: &Registration) -> Vec<&'static str> {
    registration.transports.iter().map(|of| of.name()).collect()
}

impl output::View for Report {
    fn table(&self) -> String {
        let rows = self.cases().flat_map(|(registration, verdict)| {
            let request = &registration.request;
            let mut findings: Vec<_> = verdict
                .findings
                .iter()
                .map(|finding| self.finding(finding, &request.acknowledge))
                .collect();
            if findings.is_empty() {
                findings.push("-".to_owned());
            }
            let first = [
                registration.line.to_string(),
                clean(&request.service_name),
                registration.ports.to_string(),
                transports(registration).join(", "),
                outcome(verdict),
            ];
            // What is said of the same registration stands under the first of it.
            let blank = [const { String::new() }; 5];
            let heads = std::iter::once(first).chain(std::iter::repeat(blank));
            let rows = heads.zip(findings);
            rows.map(|(head, finding)| head.into_iter().chain([finding]).collect()).collect_vec()
        });
        let header = "LINE SERVICE PORT TRANSPORT VERDICT FINDING";
        table::render(Some(header.split(' ').map(String::from).collect()), rows)
    }

    fn objects(&self) -> Vec<Value> {
        let cases = self.cases().zip(self.made());
        let objects = cases.map(|((registration, verdict), made)| {
            let findings = verdict.findings.iter().map(|finding| {
                let mut object = finding::object(finding);
                object["evidence_line"] = json!(self.evidence_line(finding));
                object
            });
            json!({
                "line": registration.line,
                "namespace": text(&registration.request.namespace),
                "service_name": text(&registration.request.service_name),
                "first_port": registration.ports.first().number(),
                "last_port": registration.ports.last().number(),
                "transports": transports(registration),
                "outcome": enum_names::outcome(verdict.outcome),
                "findings": findings.collect::<Vec<_>>(),
                "assignments": record::objects(made),
            })
        });
        objects.collect()
    }

    fn csv_rows(&self) -> Vec<Value> {
        let none = [proto::Finding::default()];
        let rows = self.cases().flat_map(|(registration, verdict)| {
            let findings = if verdict.findings.is_empty() { &none[..] } else { &verdict.findings };
            findings.iter().map(|finding| self.row(registration, verdict, finding)).collect_vec()
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::View;
    use crate::registry::port::{Port, PortRange, Transport};

    fn registration(line: usize, name: &str, port: u16, transports: &[Transport]) -> Registration {
        Registration {
            line,
            ports: PortRange::single(Port::new(port)),
            transports: transports.to_vec(),
            request: proto::RegisterPortRequest { service_name: name.into(), ..Default::default() },
        }
    }

    fn report() -> Report {
        let finding =
            |code: proto::FindingCode, severity: proto::Severity, message: &str| proto::Finding {
                code: code.into(),
                severity: severity.into(),
                message: message.into(),
                ..proto::Finding::default()
            };
        let verdict = |outcome: proto::Outcome, findings| proto::Verdict {
            outcome: outcome.into(),
            findings,
            ..proto::Verdict::default()
        };
        let iana = finding(
            proto::FindingCode::IanaAssigned,
            proto::Severity::Acknowledge,
            "IANA has 9100/tcp",
        );
        let taken = proto::Finding {
            evidence_index: Some(0),
            ..finding(
                proto::FindingCode::PortTaken,
                proto::Severity::Blocker,
                "9100/tcp is asked for twice",
            )
        };
        let invalid =
            finding(proto::FindingCode::InvalidServiceName, proto::Severity::Blocker, "too long");
        Report {
            registrations: vec![
                registration(3, "a", 9100, &[Transport::Tcp, Transport::Udp]),
                registration(4, "b", 9100, &[Transport::Tcp]),
                registration(7, "c", 9200, &[Transport::Tcp]),
            ],
            verdicts: vec![
                verdict(proto::Outcome::AcknowledgementRequired, vec![iana]),
                verdict(proto::Outcome::Refused, vec![taken, invalid]),
                verdict(proto::Outcome::Accepted, vec![]),
            ],
            assignments: vec![],
        }
    }

    #[test]
    fn every_registration_has_a_verdict_and_conflicts_name_the_line() {
        let expected = "\
LINE  SERVICE  PORT  TRANSPORT  VERDICT                   FINDING
3     a        9100  tcp, udp   acknowledgement required  acknowledge IANA_ASSIGNED: IANA has 9100/tcp
4     b        9100  tcp        refused                   blocker PORT_TAKEN: 9100/tcp is asked for twice (line 3)
                                                          blocker INVALID_SERVICE_NAME: too long
7     c        9200  tcp        accepted                  -
";
        let report = report();
        assert_eq!(report.table(), expected);
        assert_eq!(report.refused(), 2);
        assert_eq!(report.help().unwrap(), "--acknowledge IANA_ASSIGNED --shorten-names");
        assert_eq!(report.objects()[1]["findings"][0]["evidence_line"], 3);
        let lines: Vec<_> = report.csv_rows().iter().map(|row| row["line"].clone()).collect();
        assert_eq!(lines, [3, 4, 4, 7]);
    }

    #[test]
    fn what_was_made_stands_beside_what_asked_for_it() {
        let made = |name: &str| proto::Assignment { uid: name.into(), ..Default::default() };
        let assignments = ["a1", "a2", "b1", "c1"].map(made).to_vec();
        let report = Report { assignments, ..report() };
        let uids: Vec<Vec<_>> = report
            .objects()
            .iter()
            .map(|object| object["assignments"].as_array().unwrap().clone())
            .map(|made| made.iter().map(|record| record["uid"].clone()).collect())
            .collect();
        assert_eq!(uids, [vec!["a1", "a2"], vec!["b1"], vec!["c1"]]);
    }
}
