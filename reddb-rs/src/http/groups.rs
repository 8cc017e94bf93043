//! `/v1/streams/{key}/groups/{group}`: consumer groups.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entries::{Entries, StreamEntry, entries_of, entries_of_one_stream, text};
use super::error::{ErrorBody, HttpError};
use super::extract::{JsonBody, Target};
use super::streams::{count_option, read_options};
use super::words;
use crate::resp::value::RespValue;

/// Key and group.
type Group = Target<(String, String)>;

#[derive(Deserialize, ToSchema)]
pub struct GroupBody {
    /// Entries after this id are delivered; `$`: those that come from now on (default `0`).
    start: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub struct GroupReadBody {
    /// Name of the reader; made if need be.
    consumer: String,
    /// Instead of new entries, those that are pending for this consumer after this id: what it was given and has not
    /// acknowledged, such as before it was restarted.
    after: Option<String>,
    /// At most so many entries (default 100, at most 10000).
    count: Option<u32>,
    /// Milliseconds to wait for the first new entry (at most 60000).
    block_ms: Option<u64>,
    /// Whether to return fields as pairs, in order and with repeated names, instead of as a map.
    #[serde(default)]
    pairs: bool,
}

#[derive(Deserialize, ToSchema)]
pub struct AckBody {
    ids: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Acknowledged {
    acknowledged: i64,
}

#[derive(Deserialize, ToSchema)]
pub struct ClaimBody {
    /// Who takes the entries over; made if need be.
    consumer: String,
    /// Only what was last delivered so long ago is claimed.
    min_idle_ms: u64,
    /// Entries from this id on; absent: from the first.
    start: Option<String>,
    /// At most so many entries (default 100, at most 10000).
    count: Option<u32>,
    /// Whether to return fields as pairs, in order and with repeated names, instead of as a map.
    #[serde(default)]
    pairs: bool,
}

#[derive(Serialize, ToSchema)]
pub struct Claimed {
    entries: Vec<StreamEntry>,
    /// Ids that were pending although their entries are deleted; they are pending no more.
    deleted: Vec<String>,
    /// `start` of the next claim; absent where all that is pending was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Creates a consumer group, and the stream if need be.
#[utoipa::path(put, path = "/v1/streams/{key}/groups/{group}",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = GroupBody, responses(
    (status = 201, description = "Created"),
    (status = 409, description = "GroupExists or WrongType", body = ErrorBody),
))]
pub async fn create(target: Group, JsonBody(body): JsonBody<GroupBody>) -> Result<StatusCode, HttpError> {
    let (key, group) = &target.path;
    let start = body.start.as_deref().unwrap_or("0");
    target.run(words(["XGROUP", "CREATE", key, group, start, "MKSTREAM"])).await?;
    Ok(StatusCode::CREATED)
}

/// Deletes a consumer group with what is pending in it.
#[utoipa::path(delete, path = "/v1/streams/{key}/groups/{group}",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)), responses(
    (status = 204, description = "Deleted"),
    (status = 404, description = "GroupNotFound", body = ErrorBody),
))]
pub async fn delete(target: Group) -> Result<StatusCode, HttpError> {
    let (key, group) = &target.path;
    match target.run(words(["XGROUP", "DESTROY", key, group])).await? {
        RespValue::Integer(1) => Ok(StatusCode::NO_CONTENT),
        _ => Err(HttpError::group_not_found()),
    }
}

/// Reads entries that no consumer of the group has seen; they stay pending until acknowledged.
#[utoipa::path(post, path = "/v1/streams/{key}/groups/{group}/read",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = GroupReadBody, responses(
    (status = 200, description = "Entries; none if nothing came in time", body = Entries),
    (status = 404, description = "GroupNotFound", body = ErrorBody),
))]
pub async fn read(target: Group, JsonBody(body): JsonBody<GroupReadBody>) -> Result<Json<Entries>, HttpError> {
    let (key, group) = &target.path;
    let mut args = words(["XREADGROUP", "GROUP", group, &body.consumer]);
    args.extend(read_options(body.count, body.block_ms));
    args.extend(words(["STREAMS", key, body.after.as_deref().unwrap_or(">")]));
    Ok(Json(entries_of_one_stream(target.run(args).await?, body.pairs)))
}

/// Acknowledges entries.
#[utoipa::path(post, path = "/v1/streams/{key}/groups/{group}/ack",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = AckBody, responses((status = 200, description = "How many were pending", body = Acknowledged)))]
pub async fn acknowledge(target: Group, JsonBody(body): JsonBody<AckBody>) -> Result<Json<Acknowledged>, HttpError> {
    if body.ids.is_empty() {
        return Err(HttpError::bad_request("Name at least one id to acknowledge."));
    }
    let (key, group) = &target.path;
    let mut args = words(["XACK", key, group]);
    args.extend(body.ids.into_iter().map(String::into_bytes));
    match target.run(args).await? {
        RespValue::Integer(acknowledged) => Ok(Json(Acknowledged { acknowledged })),
        other => Err(HttpError::internal("XACK replied unexpectedly", &format!("{other:?}"))),
    }
}

/// Takes over entries that another consumer was given long ago and has not acknowledged, as when it died.
#[utoipa::path(post, path = "/v1/streams/{key}/groups/{group}/claim",
    params(("key" = String, Path, description = "Percent-encoded"), ("group" = String, Path)),
    request_body = ClaimBody, responses(
    (status = 200, description = "What the consumer has now", body = Claimed),
    (status = 404, description = "GroupNotFound", body = ErrorBody),
))]
pub async fn claim(target: Group, JsonBody(body): JsonBody<ClaimBody>) -> Result<Json<Claimed>, HttpError> {
    let (key, group) = &target.path;
    let start = body.start.as_deref().unwrap_or("0-0");
    // Longer than any clock has run is as good as for ever.
    let min_idle_ms = i64::try_from(body.min_idle_ms).unwrap_or(i64::MAX).to_string();
    let mut args = words(["XAUTOCLAIM", key, group, &body.consumer, &min_idle_ms, start]);
    args.extend(count_option(body.count));
    let mut parts = target.run(args).await?.into_array().into_iter();
    let next = Some(text(parts.next())).filter(|next| next != "0-0");
    let entries = entries_of(parts.next().unwrap_or(RespValue::Null), body.pairs);
    let deleted = parts.next().map(RespValue::into_array).unwrap_or_default();
    Ok(Json(Claimed { entries, deleted: deleted.into_iter().map(|id| text(Some(id))).collect(), next }))
}
