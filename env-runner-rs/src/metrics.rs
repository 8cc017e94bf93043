//! Prometheus metrics; labels take few values by construction.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels a count of executions by how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: String,
}

/// Labels a count of responses; `route` is the pattern, never the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResponseLabels {
    pub route: String,
    pub status: u16,
}

/// Everything the runner counts.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub exec_seconds: Histogram,
    pub exec: Family<ReasonLabel, Counter>,
    pub exec_active: Gauge,
    pub fork_seconds: Histogram,
    pub responses: Family<ResponseLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("dspy_runner");
        let exec_seconds = Histogram::new(exponential_buckets(0.001, 2.5, 14));
        let fork_seconds = Histogram::new(exponential_buckets(0.001, 2.5, 10));
        let (exec, exec_active, responses) = (Family::default(), Gauge::default(), Family::default());
        registry.register("exec_seconds", "Wall time of executions, start to reply", exec_seconds.clone());
        registry.register("exec", "Executions by how they ended", Family::clone(&exec));
        registry.register("exec_active", "Executions running now", exec_active.clone());
        registry.register("fork_seconds", "Time to fork a workspace", fork_seconds.clone());
        registry.register("http_responses", "Responses by route pattern and status", Family::clone(&responses));
        Self { registry, exec_seconds, exec, exec_active, fork_seconds, responses }
    }
}

impl Metrics {
    /// The exposition text.
    ///
    /// # Errors
    /// Never for a string; the encoder's signature has it.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts one execution's end.
    pub fn ended(&self, reason: &str) {
        self.exec.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }
}
