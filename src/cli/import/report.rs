//! The output of an import: a verdict for each registration, and the flags that may help.

use itertools::Itertools;
use serde_json::{Value, json};

use super::row::Registration;
use crate::cli::output::finding::{self, codes_to_acknowledge, outcome};
use crate::cli::output::record::{self, text};
use crate::cli::output::{self, clean, enum_names, table};
use crate::grpc::{convert, proto};
use crate::registry::service_name::fold;

/// The registrations of a file and their verdicts.
pub(super) struct Report {
    pub(super) registrations: Vec<Registration>,
    /// One for each registration.
    pub(super) verdicts: Vec<proto::Verdict>,
    /// The committed assignments: one for each transport of each registration.
    pub(super) assignments: Vec<proto::Assignment>,
}

impl Report {
    /// The number of registrations that are not accepted.
    pub(super) fn refused(&self) -> usize {
        let is_accepted = |verdict: &&proto::Verdict| verdict.outcome() == proto::Outcome::Accepted;
        self.verdicts.len() - self.verdicts.iter().filter(is_accepted).count()
    }

    /// Removes the registrations whose service already holds exactly these ports on all of these
    /// transports. Returns their number.
    pub(super) fn skip_held(&mut self) -> usize {
        let cases = self.registrations.drain(..).zip(self.verdicts.drain(..)).enumerate();
        let (held, remaining): (Vec<_>, Vec<_>) =
            cases.partition(|(_, (registration, verdict))| is_held(registration, verdict));
        // Findings refer to other registrations by index, and the indexes change.
        let mut new_indexes = vec![None; held.len() + remaining.len()];
        for (to, (from, _)) in (0u32..).zip(&remaining) {
            new_indexes[*from] = Some(to);
        }
        for (_, (registration, mut verdict)) in remaining {
            for finding in &mut verdict.findings {
                let index = finding.evidence_index.and_then(|from| new_indexes.get(from as usize));
                finding.evidence_index = index.copied().flatten();
            }
            self.registrations.push(registration);
            self.verdicts.push(verdict);
        }
        held.len()
    }

    /// The flags with which more registrations may be accepted.
    pub(super) fn flags(&self) -> Option<String> {
        let overridable = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.outcome() == proto::Outcome::AcknowledgementRequired);
        let codes = codes_to_acknowledge(overridable);
        let acknowledge = (!codes.is_empty()).then(|| format!("--acknowledge {codes}"));
        let invalid = i32::from(proto::FindingCode::InvalidServiceName);
        let mut findings = self.verdicts.iter().flat_map(|verdict| &verdict.findings);
        let shorten = findings.any(|finding| finding.code == invalid);
        let shorten = shorten.then(|| "--shorten-names".to_owned());
        let flags = acknowledge.into_iter().chain(shorten).join(" ");
        (!flags.is_empty()).then_some(flags)
    }

    /// The line of the registration that a finding refers to.
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
    fn assignments(&self) -> impl Iterator<Item = &[proto::Assignment]> {
        let mut remaining = self.assignments.as_slice();
        self.registrations.iter().map(move |registration| {
            let count = registration.transports.len().min(remaining.len());
            let (assignments, rest) = remaining.split_at(count);
            remaining = rest;
            assignments
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
            "outcome": enum_names::name(verdict.outcome()),
            "code": enum_names::name(finding.code()),
            "severity": enum_names::name(finding.severity()),
            "message": text(&finding.message),
            "evidence_line": self.evidence_line(finding),
        })
    }
}

/// Whether the service of a registration already holds its ports, on each of its transports.
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
            // Only the first finding repeats the registration.
            let blank = [const { String::new() }; 5];
            let prefixes = std::iter::once(first).chain(std::iter::repeat(blank));
            let rows = prefixes.zip(findings);
            rows.map(|(prefix, finding)| prefix.into_iter().chain([finding]).collect())
                .collect_vec()
        });
        let header = "LINE SERVICE PORT TRANSPORT VERDICT FINDING";
        table::render(&header.split(' ').collect::<Vec<_>>(), rows)
    }

    fn objects(&self) -> Vec<Value> {
        let cases = self.cases().zip(self.assignments());
        let objects = cases.map(|((registration, verdict), assignments)| {
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
                "outcome": enum_names::name(verdict.outcome()),
                "findings": findings.collect::<Vec<_>>(),
                "assignments": record::objects(assignments),
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
                "9100/tcp is requested twice",
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
    fn every_registration_has_a_verdict_and_conflicts_show_the_line() {
        let expected = "\
LINE  SERVICE  PORT  TRANSPORT  VERDICT                   FINDING
3     a        9100  tcp, udp   acknowledgement required  acknowledge IANA_ASSIGNED: IANA has 9100/tcp
4     b        9100  tcp        refused                   blocker PORT_TAKEN: 9100/tcp is requested twice (line 3)
                                                          blocker INVALID_SERVICE_NAME: too long
7     c        9200  tcp        accepted                  -
";
        let report = report();
        assert_eq!(report.table(), expected);
        assert_eq!(report.refused(), 2);
        assert_eq!(report.flags().unwrap(), "--acknowledge IANA_ASSIGNED --shorten-names");
        assert_eq!(report.objects()[1]["findings"][0]["evidence_line"], 3);
        let lines: Vec<_> = report.csv_rows().iter().map(|row| row["line"].clone()).collect();
        assert_eq!(lines, [3, 4, 4, 7]);
    }

    #[test]
    fn assignments_belong_to_their_registrations() {
        let assignment = |uid: &str| proto::Assignment { uid: uid.into(), ..Default::default() };
        let assignments = ["a1", "a2", "b1", "c1"].map(assignment).to_vec();
        let report = Report { assignments, ..report() };
        let uids: Vec<Vec<_>> = report
            .objects()
            .iter()
            .map(|object| object["assignments"].as_array().unwrap().clone())
            .map(|assignments| assignments.iter().map(|record| record["uid"].clone()).collect())
            .collect();
        assert_eq!(uids, [vec!["a1", "a2"], vec!["b1"], vec!["c1"]]);
    }
}
