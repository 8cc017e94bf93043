//! Logs as one JSON object a line: `ts level msg component trace_id` and the event's own fields.

use std::fmt;

use serde_json::{Map, Value};
use tokio::task::JoinHandle;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

tokio::task_local! {
    /// Trace id of the request being served.
    pub static TRACE_ID: String;
}

/// Starts logging to standard output; `RUNNER_LOG` sets the level (default `info`).
pub fn init() {
    let filter = EnvFilter::try_from_env("RUNNER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).event_format(JsonLine).init();
}

/// As `tokio::spawn`; what the task logs belongs to the request that spawns it.
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(TRACE_ID.scope(current(), task))
}

/// As `tokio::task::spawn_blocking`; what the work logs belongs to the request that spawns it.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(carried(work))
}

/// Work to be done elsewhere; what it logs belongs to the request that is being served now.
pub fn carried<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let trace = current();
    move || TRACE_ID.sync_scope(trace, work)
}

fn current() -> String {
    TRACE_ID.try_with(Clone::clone).unwrap_or_default()
}

/// The trace id in a W3C `traceparent`, if it is one.
pub fn trace_id(traceparent: &str) -> Option<&str> {
    let mut fields = traceparent.split('-');
    let (version, trace, span) = (fields.next()?, fields.next()?, fields.next()?);
    let hex = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex(version, 2) && hex(trace, 32) && hex(span, 16)).then_some(trace)
}

struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        line.insert("ts".into(), humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string().into());
        line.insert("level".into(), event.metadata().level().as_str().to_lowercase().into());
        line.insert("component".into(), "env-runner".into());
        if let Ok(trace) = TRACE_ID.try_with(Clone::clone)
            && !trace.is_empty()
        {
            line.insert("trace_id".into(), trace.into());
        }
        event.record(&mut Fields(&mut line));
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.0.insert(name.to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::{TRACE_ID, carried, spawn, spawn_blocking, trace_id};

    #[tokio::test]
    async fn what_a_request_has_done_elsewhere_is_logged_as_its_own() {
        let id = || TRACE_ID.get();
        TRACE_ID
            .scope("abc".to_owned(), async {
                assert_eq!(spawn(async move { id() }).await.unwrap(), "abc");
                assert_eq!(spawn_blocking(id).await.unwrap(), "abc");
                assert_eq!(std::thread::spawn(carried(id)).join().unwrap(), "abc");
            })
            .await;
        assert_eq!(spawn_blocking(id).await.unwrap(), "");
    }

    #[test]
    fn only_a_wellformed_traceparent_has_an_id() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        for bad in ["", "00-xyz-1-01", "00-4bf92f3577b34da6a3ce929d0e0e4736", "a\nb"] {
            assert_eq!(trace_id(bad), None);
        }
    }
}
