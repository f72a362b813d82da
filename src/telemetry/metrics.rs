//! Pure: plain numbers to OpenMetrics text. The rooms keep their own counters; whoever serves `/metrics` gathers them into families.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Goes with the text that [`render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `_total` is added to the name.
    Counter,
    Gauge,
}

/// One metric with all its label values. Names carry their unit (`_seconds`, `_bytes`) and no suffix.
#[derive(Clone, Debug)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug)]
pub struct Point {
    pub labels: Vec<(&'static str, String)>,
    pub value: u64,
}

impl Family {
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: Kind::Counter, points: vec![Point { labels: Vec::new(), value }] }
    }

    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { kind: Kind::Gauge, ..Self::counter(name, help, value) }
    }

    /// A counter with one label; families without points are left out of the text.
    pub fn counters_by(name: &'static str, help: &'static str, label: &'static str, values: impl IntoIterator<Item = (impl ToString, u64)>) -> Self {
        let points = values.into_iter().map(|(key, value)| Point { labels: vec![(label, key.to_string())], value }).collect();
        Self { name, help, kind: Kind::Counter, points }
    }

    /// The constant 1 with labels that say what runs (`build_info`).
    pub fn info(name: &'static str, help: &'static str, labels: Vec<(&'static str, String)>) -> Self {
        Self { name, help, kind: Kind::Gauge, points: vec![Point { labels, value: 1 }] }
    }
}

/// OpenMetrics 1.0 text, ending in `# EOF`. Every name gets the prefix `rtcctl_`.
pub fn render(families: Vec<Family>) -> String {
    let mut registry = Registry::with_prefix("rtcctl");
    registry.register_collector(Box::new(Families(families)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.points.is_empty()) {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for point in &family.points {
                if point.labels.is_empty() {
                    encode_value(family.kind, point.value, metric)?;
                    break;
                }
                encode_labelled(&mut metric, family.kind, point)?;
            }
        }
        Ok(())
    }
}

fn encode_labelled(metric: &mut MetricEncoder<'_>, kind: Kind, point: &Point) -> fmt::Result {
    let labels = Labels(&point.labels);
    encode_value(kind, point.value, metric.encode_family(&labels)?)
}

fn encode_value(kind: Kind, value: u64, encoder: MetricEncoder<'_>) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

#[derive(Debug)]
struct Labels<'a>(&'a [(&'static str, String)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelSetEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeLabel as _;
        self.0.iter().try_for_each(|(key, value)| (*key, value.as_str()).encode(encoder.encode_label()))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn families_become_openmetrics() {
        let text = render(vec![
            Family::info("build", "what runs", vec![("version", "0.1.0".into())]),
            Family::gauge("turn_allocations", "allocations now", 2),
            Family::counter("turn_relayed_bytes", "payload relayed, both ways", u64::MAX),
            Family::counters_by("tls_alerts", "alerts from clients", "reason", [("unknown_ca", 3), ("bad \"quoted\"\nline", 1)]),
            Family::counters_by("turn_drops", "never yet", "reason", Vec::<(&str, u64)>::new()),
        ]);
        expect![[r#"
            # HELP rtcctl_build what runs
            # TYPE rtcctl_build gauge
            rtcctl_build{version="0.1.0"} 1
            # HELP rtcctl_turn_allocations allocations now
            # TYPE rtcctl_turn_allocations gauge
            rtcctl_turn_allocations 2
            # HELP rtcctl_turn_relayed_bytes payload relayed, both ways
            # TYPE rtcctl_turn_relayed_bytes counter
            rtcctl_turn_relayed_bytes_total 18446744073709551615
            # HELP rtcctl_tls_alerts alerts from clients
            # TYPE rtcctl_tls_alerts counter
            rtcctl_tls_alerts_total{reason="unknown_ca"} 3
            rtcctl_tls_alerts_total{reason="bad \"quoted\"\nline"} 1
            # EOF
        "#]]
        .assert_eq(&text);
    }
}
