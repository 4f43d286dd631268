//! Makes the description of this interface (OpenAPI 3.1) from the types of [`crate::api`], and holds `docs/openapi.json` to it.
//!
//! `SCANGUARD_BLESS=1 cargo test -p scanguard openapi` writes the file anew.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::server::{paths, router};
use super::tests::{MadeUp, refused};
use crate::api::{
    AllowAdd, AllowAdded, AllowList, AllowRemove, AllowRemoved, AllowTest, AuditList, AuditQuery, BlockAdd, BlockAdded,
    BlockHistory, BlockList, BlockRemove, BlockRemoved, Confirm, FeedList, FeedTest, FeedsRefresh, FeedsRefreshed,
    HistoryQuery, Incident, IncidentList, IncidentsQuery, KnownAdd, KnownAdded, KnownList, KnownQuery, KnownRemove,
    KnownRemoved, LockdownOff, LockdownOn, LockdownState, ModeSet, ModeState, NotSaved, PendingApprove,
    PendingApproved, PendingDenied, PendingDeny, PendingList, Refusal, Reloaded, RunningConfig, Signal, Signalled,
    SourceList, SourcesQuery, Status, Why,
};

/// A question about an address or a prefix.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for the generic one, of which there is one schema")]
struct AddressQuery {
    /// The address or prefix.
    address: String,
}

/// What an operation takes and gives, as names of schemas.
struct Operation {
    summary: &'static str,
    query: Option<Value>,
    body: Option<Value>,
    answer: Value,
    /// Other answers than 200, all of them a `Refusal`.
    refusals: &'static [u16],
}

struct Description {
    generator: SchemaGenerator,
    paths: BTreeMap<&'static str, Map<String, Value>>,
}

/// Every refusal that a route may give, with what it means.
const REFUSALS: [(u16, &str); 8] = [
    (400, "What is asked for makes no sense."),
    (403, "A safety rule forbids it, or you may not ask."),
    (404, "There is no such thing."),
    (405, "This route takes another method."),
    (413, "The request is too long."),
    (415, "The body is not application/json."),
    (500, "It failed."),
    (503, "Others are being sent long lists: ask again."),
];

const READ: &[u16] = &[400, 403, 500];
const CHANGE: &[u16] = &[400, 403, 404, 413, 415, 500];

impl Description {
    fn schema<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// Fields of a struct as parameters of a query.
    fn parameters<T: JsonSchema>(&mut self) -> Value {
        let schema = self.generator.clone().into_root_schema_for::<T>().to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = schema["properties"].as_object().cloned().unwrap_or_default();
        let parameter = |(name, mut schema): (String, Value)| {
            let required = required.contains(&json!(name));
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            // What may be left out is never null in a query.
            if let Some(types) = schema["type"].as_array().filter(|types| types.len() == 2) {
                schema["type"] = types[0].clone();
            }
            self.parameters_use(&schema);
            json!({"name": name, "in": "query", "required": required, "description": description, "schema": schema})
        };
        Value::Array(fields.into_iter().map(parameter).collect())
    }

    /// Schemas that a parameter refers to must be among the others.
    fn parameters_use(&mut self, schema: &Value) {
        if schema.to_string().contains("$ref") {
            self.generator.subschema_for::<crate::api::SourceOrder>();
            self.generator.subschema_for::<crate::api::IncidentState>();
        }
    }

    fn add(&mut self, method: &str, path: &'static str, operation: Operation) {
        let Operation { summary, query, body, answer, refusals } = operation;
        let json_of = |schema: Value| json!({"application/json": {"schema": schema}});
        let mut responses = Map::new();
        responses.insert("200".into(), json!({"description": "Done.", "content": json_of(answer.clone())}));
        if method == "post" {
            let both = json!({"allOf": [answer, self.schema::<NotSaved>()]});
            let description = "It is in force and stays so, but is not saved yet.";
            responses.insert("202".into(), json!({"description": description, "content": json_of(both)}));
        }
        let refusal = self.schema::<Refusal>();
        for (status, meaning) in REFUSALS.iter().filter(|(status, _)| refusals.contains(status)) {
            let response = json!({"description": meaning, "content": json_of(refusal.clone())});
            responses.insert(status.to_string(), response);
        }
        let id: String = format!("{method}{}", path.trim_start_matches("/v1").replace(['/', '.', '{', '}'], "_"));
        let mut described = json!({"summary": summary, "operationId": id, "responses": responses});
        if let Some(query) = query {
            described["parameters"] = query;
        }
        if let Some(body) = body {
            described["requestBody"] = json!({"required": true, "content": json_of(body)});
        }
        self.paths.entry(path).or_default().insert(method.to_owned(), described);
    }

    fn read<Q: JsonSchema, T: JsonSchema>(
        &mut self,
        path: &'static str,
        summary: &'static str,
        refusals: &'static [u16],
    ) {
        let (query, answer) = (Some(self.parameters::<Q>()), self.schema::<T>());
        self.add("get", path, Operation { summary, query, body: None, answer, refusals });
    }

    fn look<T: JsonSchema>(&mut self, path: &'static str, summary: &'static str) {
        let answer = self.schema::<T>();
        self.add("get", path, Operation { summary, query: None, body: None, answer, refusals: READ });
    }

    fn change<B: JsonSchema, T: JsonSchema>(&mut self, path: &'static str, summary: &'static str) {
        let (body, answer) = (Some(self.schema::<B>()), self.schema::<T>());
        self.add("post", path, Operation { summary, query: None, body, answer, refusals: CHANGE });
    }
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut api = Description { generator: settings.into_generator(), paths: BTreeMap::new() };
    api.look::<Status>("/v1/status", "How the daemon is and what it did.");
    api.read::<SourcesQuery, SourceList>("/v1/sources", "What the kernel counted per source.", &[400, 403, 500, 503]);
    api.read::<IncidentsQuery, IncidentList>("/v1/incidents", "The latest incidents.", READ);
    let (answer, summary) = (api.schema::<Incident>(), "All of an incident.");
    let query = Some(json!([{
        "name": "id", "in": "path", "required": true, "description": "Its number.",
        "schema": {"type": "integer", "minimum": 0},
    }]));
    let refusals = &[400, 403, 404, 500];
    api.add("get", "/v1/incidents/{id}", Operation { summary, query, body: None, answer, refusals });
    api.look::<AllowList>("/v1/allow", "The allowlist.");
    api.change::<AllowAdd, AllowAdded>("/v1/allow", "Adds to the allowlist.");
    api.change::<AllowRemove, AllowRemoved>("/v1/allow/remove", "Takes entries off the allowlist.");
    api.read::<AddressQuery, AllowTest>("/v1/allow/test", "Whether the allowlist covers an address or prefix.", READ);
    api.look::<BlockList>("/v1/block", "The blocks in force.");
    api.change::<BlockAdd, BlockAdded>("/v1/block", "Blocks an address or prefix.");
    api.change::<BlockRemove, BlockRemoved>("/v1/block/remove", "Lifts blocks.");
    api.read::<HistoryQuery, BlockHistory>("/v1/block/history", "When blocks began, changed and ended, and why.", READ);
    api.look::<ModeState>("/v1/mode", "The mode.");
    api.change::<ModeSet, ModeState>("/v1/mode", "Changes the mode.");
    api.change::<Confirm, ModeState>("/v1/confirm", "Enforcing goes on.");
    api.look::<LockdownState>("/v1/lockdown", "Whether ports answer only a few, and whom.");
    api.change::<LockdownOn, LockdownState>("/v1/lockdown", "Has ports answer only a few for a while.");
    api.change::<LockdownOff, LockdownState>("/v1/lockdown/off", "Ends that.");
    api.look::<PendingList>("/v1/pending", "Blocks that wait for a person.");
    api.change::<PendingApprove, PendingApproved>("/v1/pending/approve", "Makes blocks that wait.");
    api.change::<PendingDeny, PendingDenied>("/v1/pending/deny", "Says no to blocks that wait.");
    api.read::<KnownQuery, KnownList>("/v1/known", "Sources to which restricted ports stay open.", READ);
    api.change::<KnownAdd, KnownAdded>("/v1/known", "Has sources known.");
    api.change::<KnownRemove, KnownRemoved>("/v1/known/remove", "Forgets why sources are known.");
    api.look::<FeedList>("/v1/feeds", "Lists of addresses that others make.");
    api.read::<AddressQuery, FeedTest>("/v1/feeds/test", "Which feeds name an address or prefix.", READ);
    api.change::<FeedsRefresh, FeedsRefreshed>("/v1/feeds/refresh", "Reads the files of all feeds again.");
    api.change::<Signal, Signalled>("/v1/signal", "Says what a source did, as log tools see it.");
    api.read::<AddressQuery, Why>(
        "/v1/why",
        "What is done about a source, on what evidence, and what comes next.",
        READ,
    );
    api.read::<AuditQuery, AuditList>("/v1/audit", "Who asked for what.", READ);
    api.look::<RunningConfig>("/v1/config", "The settings in force.");
    let reloaded = api.schema::<Reloaded>();
    let summary = "Reads the configuration anew.";
    let operation = Operation { summary, query: None, body: None, answer: reloaded, refusals: &[400, 403, 500] };
    api.add("post", "/v1/config/reload", operation);
    let summary = "This document.";
    let operation = Operation { summary, query: None, body: None, answer: json!({"type": "object"}), refusals: &[403] };
    api.add("get", "/v1/openapi.json", operation);
    let Description { mut generator, paths } = api;
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "scanguard",
            "version": crate::api::SCHEMA_VERSION.to_string(),
            "summary": "The control socket of scanguard's daemon.",
            "description": INTRODUCTION,
        },
        "servers": [{"url": "http://scanguard", "description": "Over the Unix socket /run/scanguard/control.sock."}],
        "paths": paths,
        "components": {"schemas": generator.take_definitions(true)},
    })
}

const INTRODUCTION: &str = "HTTP/1.1 over a Unix socket, one request a connection. Root, the user that the daemon runs as and members of the \
socket's group may ask; others are answered 403. Each change is recorded with the caller's credentials, and answered \
when it is in force and on the disk; where the disk does not take it within 10 s, or fails, with 202 and what NotSaved \
has besides. \
A request's head may have 16 KiB and take 5 s, its body 64 KiB (4 MiB for lists of the allowlist) and 5 s, a connection 30 s. Objects may get more fields; \
schema_version grows when one is renamed, dropped or means something else.";

/// The file is what the types say. Written anew where that is asked for.
#[test]
fn the_document_is_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let made = serde_json::to_string_pretty(&document()).expect("JSON") + "\n";
    if env::var_os("SCANGUARD_BLESS").is_some() {
        fs::write(&path, &made).expect("the file");
    }
    let found = fs::read_to_string(&path).expect("the file");
    assert!(
        found == made,
        "docs/openapi.json is not what the types say: `SCANGUARD_BLESS=1 cargo test -p scanguard openapi` writes it"
    );
}

/// Every route of the router is in the document, and every operation of the document is a route.
#[tokio::test(start_paused = true)]
async fn the_document_has_the_routes_of_the_router_and_no_others() {
    use tower_service::Service as _;

    let document = document();
    let described: BTreeMap<String, Vec<String>> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .map(|(path, methods)| (path.clone(), methods.as_object().expect("methods").keys().cloned().collect()))
        .collect();
    let routed: BTreeMap<String, Vec<String>> = paths::<MadeUp>()
        .into_iter()
        .map(|(path, methods)| (path.to_owned(), methods.iter().map(|method| (*method).to_owned()).collect()))
        .collect();
    assert_eq!(described, routed);
    // And the router takes those methods and no others.
    let mut router = router(Arc::new(MadeUp::new(refused)));
    for (path, methods) in &routed {
        for method in ["get", "post", "put", "delete", "patch"] {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(path.replace("{id}", "7"));
            let request = request.body(Body::empty()).expect("a request");
            // One of them never answers, because it does what it was asked for.
            let answer = timeout(Duration::from_secs(1), router.call(request)).await;
            let is_taken = answer.is_err()
                || answer.is_ok_and(|answer| answer.expect("an answer").status() != StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(is_taken, methods.iter().any(|taken| taken == method), "{method} {path}");
        }
    }
}
