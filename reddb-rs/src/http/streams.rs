//! `/v1/streams/{key}`: append and read.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::entries::{Entries, Fields, entries_of_one_stream, text};
use super::error::{ErrorBody, HttpError};
use super::extract::{JsonBody, Parameters, Target};
use super::words;

const DEFAULT_COUNT: u32 = 100;
const MAX_COUNT: u32 = 10_000;
/// Longer waits are better polled: connections that idle for minutes get cut on the way.
const MAX_BLOCK_MS: u64 = 60_000;

#[derive(Deserialize, ToSchema)]
pub struct AppendBody {
    fields: Fields,
    /// Explicit id such as `7-0`, above the stream's last; absent: chosen by the time.
    id: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Appended {
    id: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadQuery {
    /// Entries after this id; absent: from the start.
    after: Option<String>,
    /// At most so many entries (default 100, at most 10000).
    count: Option<u32>,
    /// Milliseconds to wait for the first entry (at most 60000).
    block_ms: Option<u64>,
    /// Whether to return fields as pairs, in order and with repeated names, instead of as a map.
    #[serde(default)]
    pairs: bool,
}

/// Appends an entry; durable when the reply comes.
#[utoipa::path(post, path = "/v1/streams/{key}", params(("key" = String, Path, description = "Percent-encoded")),
    request_body = AppendBody, responses(
    (status = 201, description = "Appended", body = Appended),
    (status = 400, description = "BadRequest", body = ErrorBody),
    (status = 409, description = "IdNotIncreasing or WrongType", body = ErrorBody),
))]
pub async fn append(
    target: Target<String>,
    JsonBody(body): JsonBody<AppendBody>,
) -> Result<(StatusCode, Json<Appended>), HttpError> {
    let mut args = words(["XADD", &target.path, body.id.as_deref().unwrap_or("*")]);
    args.extend(body.fields.into_words());
    let id = text(Some(target.run(args).await?));
    Ok((StatusCode::CREATED, Json(Appended { id })))
}

/// Reads entries in order, waiting for the first if asked to.
#[utoipa::path(get, path = "/v1/streams/{key}",
    params(("key" = String, Path, description = "Percent-encoded"), ReadQuery), responses(
    (status = 200, description = "Entries; none if nothing came in time", body = Entries),
    (status = 400, description = "BadRequest; ReplyTooLarge", body = ErrorBody),
    (status = 409, description = "WrongType", body = ErrorBody),
))]
pub async fn read(
    target: Target<String>,
    Parameters(query): Parameters<ReadQuery>,
) -> Result<Json<Entries>, HttpError> {
    let mut args = words(["XREAD"]);
    args.extend(read_options(query.count, query.block_ms));
    args.extend(words(["STREAMS", &target.path, query.after.as_deref().unwrap_or("0-0")]));
    Ok(Json(entries_of_one_stream(target.run(args).await?, query.pairs)))
}

/// COUNT and BLOCK of XREAD and XREADGROUP.
pub fn read_options(count: Option<u32>, block_ms: Option<u64>) -> Vec<Vec<u8>> {
    let mut options = count_option(count);
    // BLOCK 0 would wait without end.
    if let Some(ms) = block_ms.filter(|ms| *ms > 0) {
        options.extend(words(["BLOCK", &ms.min(MAX_BLOCK_MS).to_string()]));
    }
    options
}

/// COUNT, bounded.
pub fn count_option(count: Option<u32>) -> Vec<Vec<u8>> {
    words(["COUNT", &count.unwrap_or(DEFAULT_COUNT).clamp(1, MAX_COUNT).to_string()])
}
