//! The OpenAPI document, made from the routes' own code. `contracts/http/reddb.yaml` is its export.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{blobs, error, groups, kv, probes, streams};

#[derive(OpenApi)]
#[openapi(
    info(title = "RedDB", description = "Durable keys, streams and blobs"),
    paths(
        probes::healthz, probes::readyz, probes::metrics,
        kv::read, kv::write, kv::remove,
        streams::append, streams::read,
        groups::create, groups::delete, groups::read, groups::acknowledge, groups::claim,
        blobs::create, blobs::write, blobs::read, blobs::remove,
    ),
    components(schemas(error::ErrorBody)),
    security(("token" = [])),
    modifiers(&Bearer),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// The document as YAML.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn yaml() -> Result<String, String> {
    Document::openapi().to_yaml().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_export_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../contracts/http/reddb.yaml");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == super::yaml().unwrap(),
            "contracts/http/reddb.yaml is stale: write the output of `reddb openapi` there"
        );
    }
}
