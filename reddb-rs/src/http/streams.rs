//! `/v1/streams/{key}`: append, read, consumer groups.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::{ErrorBody, HttpError};
use super::{Caller, Shared};
use crate::resp::value::RespValue;

const DEFAULT_COUNT: u32 = 100;
const MAX_COUNT: u32 = 10_000;
/// Longer waits are better polled: connections that idle for minutes get cut on the way.
const MAX_BLOCK_MS: u64 = 60_000;

#[derive(Deserialize, ToSchema)]
pub struct AppendBody {
    /// Field names and values.
    fields: BTreeMap<String, String>,
    /// Explicit id such as `7-0`, above the stream's last; absent: chosen by the time.
    id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Appended {
    id: String,
}

#[derive(Deserialize, IntoParams)]
pub struct ReadQuery {
    /// Entries after this id; absent: from the start.
    after: Option<String>,
    /// At most so many entries (default 100, at most 10000).
    count: Option<u32>,
    /// Milliseconds to wait for the first entry (at most 60000).
    block_ms: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub struct Entries {
    entries: Vec<StreamEntry>,
}

#[derive(Serialize, ToSchema)]
pub struct StreamEntry {
    id: String,
    /// Absent where the entry is pending but deleted, or is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<String, String>>,
    /// Names and values in turn, in base64; only where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    fields_base64: Option<Vec<String>>,
}

#[derive(Deserialize, ToSchema)]
pub struct GroupBody {
    /// Entries after this id are delivered; `$`: those that come from now on (default `0`).
    start: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub struct GroupReadBody {
    /// Name of the reader; made if need be.
    consumer: String,
    count: Option<u32>,
    block_ms: Option<u64>,
}

#[derive(Deserialize, ToSchema)]
pub struct AckBody {
    ids: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Acknowledged {
    acknowledged: i64,
}

/// Appends an entry; durable when the reply comes.
#[utoipa::path(post, path = "/v1/streams/{key}", params(("key" = String, Path, description = "Percent-encoded")),
    request_body = AppendBody, responses(
    (status = 201, description = "Appended", body = Appended),
    (status = 409, description = "IdNotIncreasing or WrongType", body = ErrorBody),
))]
pub async fn append(
    State(api): Shared,
    Caller(scope): Caller,
    Path(key): Path<String>,
    Json(body): Json<AppendBody>,
) -> Result<(StatusCode, Json<Appended>), HttpError> {
    let mut args = words(["XADD", &key, body.id.as_deref().unwrap_or("*")]);
    args.extend(body.fields.into_iter().flat_map(|(name, value)| [name.into_bytes(), value.into_bytes()]));
    let id = api.run(scope, args).await?.into_bytes();
    Ok((StatusCode::CREATED, Json(Appended { id: lossy(&id) })))
}

/// Reads entries in order, waiting for the first if asked to.
#[utoipa::path(get, path = "/v1/streams/{key}",
    params(("key" = String, Path, description = "Percent-encoded"), ReadQuery), responses(
    (status = 200, description = "Entries; none if nothing came in time", body = Entries),
))]
pub async fn read(
    State(api): Shared,
    Caller(scope): Caller,
    Path(key): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Result<Json<Entries>, HttpError> {
    let mut args = words(["XREAD"]);
    args.extend(read_options(query.count, query.block_ms));
    args.extend(words(["STREAMS", &key, query.after.as_deref().unwrap_or("0-0")]));
    Ok(Json(entries_of_one_stream(api.run(scope, args).await?)))
}

/// Creates a consumer group, and the stream if need be.
#[utoipa::path(put, path = "/v1/streams/{key}/groups/{group}",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = GroupBody, responses(
    (status = 201, description = "Created"),
    (status = 409, description = "GroupExists", body = ErrorBody),
))]
pub async fn create_group(
    State(api): Shared,
    Caller(scope): Caller,
    Path((key, group)): Path<(String, String)>,
    Json(body): Json<GroupBody>,
) -> Result<StatusCode, HttpError> {
    let start = body.start.as_deref().unwrap_or("0");
    api.run(scope, words(["XGROUP", "CREATE", &key, &group, start, "MKSTREAM"])).await?;
    Ok(StatusCode::CREATED)
}

/// Deletes a consumer group with what is pending in it.
#[utoipa::path(delete, path = "/v1/streams/{key}/groups/{group}",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = 404, description = "GroupNotFound", body = ErrorBody),
))]
pub async fn delete_group(
    State(api): Shared,
    Caller(scope): Caller,
    Path((key, group)): Path<(String, String)>,
) -> Result<StatusCode, HttpError> {
    match api.run(scope, words(["XGROUP", "DESTROY", &key, &group])).await? {
        RespValue::Integer(1) => Ok(StatusCode::NO_CONTENT),
        _ => Err(HttpError::not_found("GroupNotFound", "The stream has no such group.")),
    }
}

/// Reads entries that no consumer of the group has seen; they stay pending until acknowledged.
#[utoipa::path(post, path = "/v1/streams/{key}/groups/{group}/read",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = GroupReadBody, responses(
    (status = 200, description = "Entries; none if nothing came in time", body = Entries),
    (status = 404, description = "GroupNotFound", body = ErrorBody),
))]
pub async fn read_group(
    State(api): Shared,
    Caller(scope): Caller,
    Path((key, group)): Path<(String, String)>,
    Json(body): Json<GroupReadBody>,
) -> Result<Json<Entries>, HttpError> {
    let mut args = words(["XREADGROUP", "GROUP", &group, &body.consumer]);
    args.extend(read_options(body.count, body.block_ms));
    args.extend(words(["STREAMS", &key, ">"]));
    Ok(Json(entries_of_one_stream(api.run(scope, args).await?)))
}

/// Acknowledges entries.
#[utoipa::path(post, path = "/v1/streams/{key}/groups/{group}/ack",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = AckBody, responses((status = 200, description = "How many were pending", body = Acknowledged)))]
pub async fn acknowledge(
    State(api): Shared,
    Caller(scope): Caller,
    Path((key, group)): Path<(String, String)>,
    Json(body): Json<AckBody>,
) -> Result<Json<Acknowledged>, HttpError> {
    if body.ids.is_empty() {
        return Err(HttpError::bad_request("Name at least one id to acknowledge."));
    }
    let mut args = words(["XACK", &key, &group]);
    args.extend(body.ids.into_iter().map(String::into_bytes));
    match api.run(scope, args).await? {
        RespValue::Integer(acknowledged) => Ok(Json(Acknowledged { acknowledged })),
        other => Err(HttpError::internal("XACK replied unexpectedly", &format!("{other:?}"))),
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<Vec<u8>> {
    words.into_iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn read_options(count: Option<u32>, block_ms: Option<u64>) -> Vec<Vec<u8>> {
    let count = count.unwrap_or(DEFAULT_COUNT).clamp(1, MAX_COUNT).to_string();
    let mut options = words(["COUNT", &count]);
    // BLOCK 0 would wait without end.
    if let Some(ms) = block_ms.filter(|ms| *ms > 0) {
        options.extend(words(["BLOCK", &ms.min(MAX_BLOCK_MS).to_string()]));
    }
    options
}

/// `[[key, [entry, ...]]]`, or null where there is nothing.
fn entries_of_one_stream(reply: RespValue) -> Entries {
    let stream = reply.into_array().into_iter().next().map(RespValue::into_array).unwrap_or_default();
    let entries = stream.into_iter().nth(1).map(RespValue::into_array).unwrap_or_default();
    Entries { entries: entries.into_iter().map(entry).collect() }
}

/// `[id, [name, value, ...]]`.
fn entry(reply: RespValue) -> StreamEntry {
    let mut parts = reply.into_array().into_iter();
    let id = parts.next().map(RespValue::into_bytes).unwrap_or_default();
    let fields = parts.next().map(RespValue::into_array).unwrap_or_default();
    let fields: Vec<Vec<u8>> = fields.into_iter().map(RespValue::into_bytes).collect();
    let text: Option<Vec<String>> = fields.iter().map(|field| String::from_utf8(field.clone()).ok()).collect();
    let mut entry = StreamEntry { id: lossy(&id), fields: None, fields_base64: None };
    match text {
        Some(text) => {
            let pairs = text.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            entry.fields = Some(pairs.collect());
        }
        None => entry.fields_base64 = Some(fields.iter().map(|field| STANDARD.encode(field)).collect()),
    }
    entry
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
