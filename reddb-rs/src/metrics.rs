//! Prometheus metrics of the service.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::resp::table;

/// Every metric; cheap to update from the thread that runs commands.
pub struct Metrics {
    registry: Registry,
    /// By the command's index in the table.
    commands: Vec<IntCounter>,
    unknown_commands: IntCounter,
    pub connections: IntGauge,
    pub connections_refused: IntCounter,
    pub clients_cut: IntCounter,
    pub commit_seconds: Histogram,
    pub commit_batch_size: Histogram,
    pub backlog_bytes: IntGauge,
    pub cached_bytes: IntGauge,
    pub keys: IntGauge,
    pub watched_keys: IntGauge,
}

impl Metrics {
    /// # Errors
    /// When two metrics have one name, which is a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let by_name = IntCounterVec::new(Opts::new("dspy_reddb_commands_total", "Commands run"), &["command"])?;
        registry.register(Box::new(by_name.clone()))?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        Ok(Self {
            commands: table::all().iter().map(|command| by_name.with_label_values(&[command.name])).collect(),
            unknown_commands: by_name.with_label_values(&["unknown"]),
            connections: gauge("dspy_reddb_connections", "RESP connections open")?,
            connections_refused: counter("dspy_reddb_connections_refused_total", "Connections over the limit")?,
            clients_cut: counter("dspy_reddb_clients_cut_total", "Clients cut for breaking a limit or the protocol")?,
            commit_seconds: histogram(
                "dspy_reddb_commit_seconds",
                "Time of a group commit, fsync included",
                prometheus::exponential_buckets(0.000_05, 2.0, 16)?,
            )?,
            commit_batch_size: histogram(
                "dspy_reddb_commit_batch_size",
                "Mutations in a group commit",
                prometheus::exponential_buckets(1.0, 2.0, 14)?,
            )?,
            backlog_bytes: gauge(
                "dspy_reddb_backlog_bytes",
                "Committed to the journal, not yet folded into the tables",
            )?,
            cached_bytes: gauge("dspy_reddb_cached_bytes", "Keys and cached values, roughly")?,
            keys: gauge("dspy_reddb_keys", "Keys, expired ones that were not swept yet included")?,
            watched_keys: gauge("dspy_reddb_watched_keys", "Keys that clients watch for a transaction")?,
            registry,
        })
    }

    /// Counts a run of the command with this index, or of an unknown one.
    pub fn count_command(&self, index: Option<usize>) {
        index.and_then(|index| self.commands.get(index)).unwrap_or(&self.unknown_commands).inc();
    }

    /// The exposition text.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
