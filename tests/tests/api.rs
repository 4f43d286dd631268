//! The control socket's description (OpenAPI) is true: every operation in it is asked of the real daemon, and each answer fits its schema.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::SCANNER;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Map, Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const SOCKET: &str = "/run/scanguard/control.sock";

/// A request, and the status of its answer.
type Row<'r> = (&'r str, &'r str, &'r str, Option<Value>, u16);

/// Asks and returns the status and the body of the answer.
fn ask(lab: &Lab, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let (url, method) = (format!("http://scanguard{path}"), method.to_uppercase());
    let mut arguments = vec!["--disable", "-s", "-w", "\n%{http_code}", "-X", &method, "--unix-socket", SOCKET, &url]
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    if let Some(body) = body {
        arguments.extend([
            "-H".to_owned(),
            "content-type: application/json".to_owned(),
            "-d".to_owned(),
            body.to_string(),
        ]);
    }
    let answer = Tool::Curl.run(&lab.edge, arguments, LIMIT).expect("curl").stdout;
    let (body, status) = answer.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), serde_json::from_str(body).unwrap_or_else(|_| panic!("JSON: {body}")))
}

/// The document with objects that may have no field but those it names.
fn closed(document: &Value) -> Value {
    match document {
        Value::Array(parts) => parts.iter().map(closed).collect(),
        Value::Object(parts) => {
            let mut parts: Map<String, Value> = parts.iter().map(|(name, part)| (name.clone(), closed(part))).collect();
            // "properties" and "type" may also be names of fields, whose values are schemas.
            if parts.get("type").is_some_and(|types| !types.is_object()) && parts.contains_key("properties") {
                parts.entry("additionalProperties").or_insert(json!(false));
            }
            parts.into()
        }
        other => other.clone(),
    }
}

/// What is wrong with a value, by a schema of a document that holds the schemas it refers to.
fn errors(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut whole = schema.as_object().expect("a schema").clone();
    whole.insert("components".to_owned(), document["components"].clone());
    let options = jsonschema::draft202012::options().should_validate_formats(true);
    let validator = options.build(&whole.into()).expect("a schema of JSON Schema 2020-12");
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    assert!(!schema.is_null(), "{what} has no schema");
    let errors = errors(document, schema, value);
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{value}");
}

#[test]
fn an_answer_that_does_not_fit_its_schema_is_found() {
    let document = closed(&json!({"components": {"schemas": {
        "Port": {"type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535},
        "Service": {
            "type": "object",
            "properties": {
                "port": {"$ref": "#/components/schemas/Port"},
                "name": {"type": ["string", "null"]},
                "since": {"type": "string", "format": "date-time"},
                "level": {"oneOf": [{"const": "none", "type": "string"}, {"const": "block", "type": "string"}]},
                "pairs": {
                    "type": "array",
                    "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2},
                },
            },
            "required": ["port"],
        },
    }}}));
    let found = |value: &Value| errors(&document, &json!({"$ref": "#/components/schemas/Service"}), value);
    let right =
        json!({"port": 22, "name": null, "since": "2026-01-01T00:00:00Z", "level": "block", "pairs": [["a", 1]]});
    assert_eq!(found(&right), Vec::<String>::new());
    for (field, wrong) in [
        ("port", json!(70_000)),
        ("port", json!(1.5)),
        ("name", json!(7)),
        ("since", json!("yesterday")),
        ("level", json!("other")),
        ("pairs", json!([["a"]])),
        ("pairs", json!([["a", "b"]])),
        ("unknown", json!(1)),
    ] {
        let mut value = right.clone();
        value[field] = wrong;
        assert_eq!(found(&value).len(), 1, "{value}: {:?}", found(&value));
    }
    assert_eq!(found(&json!({"name": "x"})).len(), 1, "what is required is missing");
}

#[test]
fn every_operation_of_the_document_is_answered_as_it_says() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), "[safety]\nleases = false\n").expect("the daemon");
    let scan = ["-n", "-Pn", "-sS", "--max-retries", "0", "-p", "1-20", "192.0.2.10"];
    Tool::Nmap.run(&lab.scanner, scan, LIMIT).expect("nmap").success("nmap").expect("a scan");
    let document = daemon.ask("/v1/openapi.json", None).expect("the document");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).expect("the file")).expect("JSON");
    assert_eq!(document, file);
    let document = closed(&document);
    let scanner = SCANNER.to_string();
    let why = format!("?address={scanner}");
    let rows: Vec<Row<'_>> = vec![
        ("get", "/v1/status", "", None, 200),
        ("get", "/v1/config", "", None, 200),
        ("get", "/v1/sources", "?sort=score&limit=5", None, 200),
        ("get", "/v1/sources", "?limit=all", None, 400),
        (
            "post",
            "/v1/allow",
            "",
            Some(json!({"entries": [{"prefix": "198.18.0.0/24", "name": "x", "comment": "y", "for_s": 60}]})),
            200,
        ),
        ("post", "/v1/allow", "", Some(json!({"entries": [{"prefix": "here"}]})), 400),
        ("get", "/v1/allow", "", None, 200),
        ("get", "/v1/incidents", "?limit=5&state=open", None, 200),
        ("get", "/v1/incidents", "?limit=some", None, 400),
        ("get", "/v1/incidents/{id}", "", None, 404),
        ("get", "/v1/allow/test", "?address=198.18.0.7", None, 200),
        ("get", "/v1/allow/test", "", None, 400),
        (
            "post",
            "/v1/block",
            "",
            Some(
                json!({"prefix": &scanner, "scope": "private", "hard": true, "for_s": 60, "reason": "z", "force": false, "logged_in_from": []}),
            ),
            200,
        ),
        ("post", "/v1/block", "", Some(json!({"prefix": "127.0.0.1", "scope": "all"})), 403),
        ("get", "/v1/block", "", None, 200),
        ("get", "/v1/why", &why, None, 200),
        ("get", "/v1/why", "?address=nowhere", None, 400),
        ("get", "/v1/pending", "", None, 200),
        ("post", "/v1/pending/approve", "", Some(json!({"address": &scanner})), 404),
        ("post", "/v1/pending/deny", "", Some(json!({"addresses": [&scanner]})), 200),
        ("post", "/v1/block/remove", "", Some(json!({"prefixes": [&scanner, "198.18.9.9"]})), 200),
        ("get", "/v1/block/history", "?limit=10", None, 200),
        ("get", "/v1/block/history", "?limit=0", None, 400),
        ("post", "/v1/allow/remove", "", Some(json!({"prefixes": ["198.18.0.0/24", "198.18.9.9"]})), 200),
        ("post", "/v1/known", "", Some(json!({"addresses": ["198.18.9.9"], "for_s": 60, "comment": "y"})), 200),
        ("post", "/v1/known", "", Some(json!({"addresses": ["here"]})), 400),
        ("get", "/v1/known", "?limit=10", None, 200),
        ("get", "/v1/known", "?limit=some", None, 400),
        ("post", "/v1/known/remove", "", Some(json!({"addresses": ["198.18.9.9", "198.18.9.10"]})), 200),
        ("get", "/v1/feeds", "", None, 200),
        ("get", "/v1/feeds/test", "?address=198.18.0.7", None, 200),
        ("get", "/v1/feeds/test", "?address=nowhere", None, 400),
        ("post", "/v1/feeds/refresh", "", Some(json!({})), 200),
        (
            "post",
            "/v1/signal",
            "",
            Some(json!({"address": &scanner, "weight": 1.5, "reason": "w", "proof": true})),
            200,
        ),
        ("post", "/v1/signal", "", Some(json!({"address": &scanner, "weight": 11, "reason": "w"})), 400),
        ("post", "/v1/signal", "", Some(json!({"address": "127.0.0.1", "weight": 1, "reason": "w"})), 403),
        ("post", "/v1/mode", "", Some(json!({"mode": "enforce", "confirm_s": 60})), 200),
        ("get", "/v1/mode", "", None, 200),
        ("post", "/v1/confirm", "", Some(json!({})), 200),
        ("post", "/v1/confirm", "", Some(json!({})), 404),
        ("get", "/v1/lockdown", "", None, 200),
        (
            "post",
            "/v1/lockdown",
            "",
            Some(
                json!({"for_s": 60, "ports": ["22", "53/udp"], "keep_known": true, "dry_run": true, "force": false, "logged_in_from": ["198.18.9.9"]}),
            ),
            200,
        ),
        ("post", "/v1/lockdown", "", Some(json!({"for_s": 60, "logged_in_from": ["198.18.9.9"]})), 403),
        ("post", "/v1/lockdown", "", Some(json!({"for_s": 0})), 400),
        ("post", "/v1/lockdown", "", Some(json!({"for_s": 60, "ports": ["22"]})), 200),
        ("get", "/v1/lockdown", "", None, 200),
        ("post", "/v1/lockdown/off", "", Some(json!({})), 200),
        ("post", "/v1/config/reload", "", None, 200),
        ("get", "/v1/audit", "?since=2026-01-01T00:00:00Z", None, 200),
        ("get", "/v1/audit", "?since=yesterday", None, 400),
        ("get", "/v1/openapi.json", "", None, 200),
    ];
    let mut asked = BTreeSet::new();
    for (method, path, query, body, expected) in &rows {
        let what = format!("{method} {path}{query}");
        let operation = &document["paths"][*path][*method];
        let content = |place: &Value| place["content"]["application/json"]["schema"].clone();
        if let (Some(body), 200) = (body, *expected) {
            check(&document, &content(&operation["requestBody"]), body, &format!("the body of {what}"));
        }
        let (status, answer) = ask(&lab, method, &format!("{path}{query}").replace("{id}", "999999"), body.as_ref());
        assert_eq!(status, *expected, "{what}: {answer}");
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{what}: {status} is not in the document");
        check(&document, &content(response), &answer, &what);
        asked.insert((method.to_string(), path.to_string()));
    }
    // The scan is an incident a moment later.
    let deadline = Instant::now() + LIMIT;
    let id = loop {
        let (_, list) = ask(&lab, "get", "/v1/incidents", None);
        if let Some(id) = list["incidents"][0]["id"].as_u64() {
            break id;
        }
        assert!(Instant::now() < deadline, "no incident opens: {list}");
        thread::sleep(Duration::from_millis(100));
    };
    let operation = &document["paths"]["/v1/incidents/{id}"]["get"]["responses"]["200"];
    let (_, incident) = ask(&lab, "get", &format!("/v1/incidents/{id}"), None);
    check(&document, &operation["content"]["application/json"]["schema"], &incident, "an incident");
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().expect("methods").keys().map(|method| (method.clone(), path.clone()))
        })
        .collect();
    assert_eq!(asked, described, "every operation is asked");
    daemon.stop().expect("a clean stop");
}
