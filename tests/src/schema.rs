//! Whether JSON is as a schema says: the part of JSON Schema 2020-12 (json-schema.org/draft/2020-12) that docs/openapi.json uses. A keyword that is
//! not known here is an error, so that nothing passes unseen; objects may have no field that the schema does not name.

use serde_json::{Map, Value};

/// Keywords that say nothing about what is valid.
const NOTES: [&str; 6] = ["$schema", "title", "description", "default", "examples", "format"];

/// What is wrong with a value, by a schema of a document whose `components` hold the schemas that it refers to.
#[must_use]
pub fn errors(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    check(document, schema, value, "", &mut errors);
    errors
}

fn check(document: &Value, schema: &Value, value: &Value, place: &str, errors: &mut Vec<String>) {
    let keywords = match schema {
        Value::Bool(true) => return,
        Value::Object(keywords) => keywords,
        _ => return errors.push(format!("{place}: {schema} allows nothing")),
    };
    for (keyword, argument) in keywords {
        let is_valid = |schema: &Value| {
            let mut found = Vec::new();
            check(document, schema, value, place, &mut found);
            found.is_empty()
        };
        let schemas = || argument.as_array().into_iter().flatten();
        let is_right = match keyword.as_str() {
            "$ref" => match argument.as_str().and_then(|path| document.pointer(path.trim_start_matches('#'))) {
                Some(schema) => {
                    check(document, schema, value, place, errors);
                    true
                }
                None => false,
            },
            "type" => match argument {
                Value::Array(types) => types.iter().any(|name| is_of(value, name)),
                name => is_of(value, name),
            },
            "enum" => schemas().any(|allowed| allowed == value),
            "const" => argument == value,
            "anyOf" => schemas().any(is_valid),
            "oneOf" => schemas().filter(|schema| is_valid(schema)).count() == 1,
            "allOf" => schemas().all(is_valid),
            "minimum" => value.as_f64().is_none_or(|value| argument.as_f64().is_some_and(|least| value >= least)),
            "maximum" => value.as_f64().is_none_or(|value| argument.as_f64().is_some_and(|most| value <= most)),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= argument.as_u64().unwrap_or(0)),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= argument.as_u64().unwrap_or(0)),
            "required" => schemas().all(|name| value.get(name.as_str().unwrap_or_default()).is_some()),
            "items" | "prefixItems" => {
                check_items(document, keyword, argument, value, place, errors);
                true
            }
            "properties" => {
                check_fields(document, keywords, value, place, errors);
                true
            }
            "additionalProperties" => true, // With "properties".
            note => NOTES.contains(&note),
        };
        if !is_right {
            errors.push(format!("{place}: {value} is not {keyword} {argument}"));
        }
    }
}

fn is_of(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => false,
    }
}

fn check_items(document: &Value, keyword: &str, schema: &Value, value: &Value, place: &str, errors: &mut Vec<String>) {
    let items = value.as_array().into_iter().flatten().enumerate();
    for (position, item) in items {
        let schema = if keyword == "items" { Some(schema) } else { schema.get(position) };
        if let Some(schema) = schema {
            check(document, schema, item, &format!("{place}/{position}"), errors);
        }
    }
}

fn check_fields(document: &Value, keywords: &Map<String, Value>, value: &Value, place: &str, errors: &mut Vec<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        match (keywords["properties"].get(name), keywords.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => check(document, schema, field, &place, errors),
            (None, None) => errors.push(format!("{place}: the schema does not name this field")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits_is_told_from_what_does_not() {
        let document =
            json!({"components": {"schemas": {"Port": {"type": "integer", "minimum": 0, "maximum": 65535}}}});
        let schema = json!({
            "type": "object",
            "properties": {
                "port": {"$ref": "#/components/schemas/Port"},
                "name": {"type": ["string", "null"]},
                "level": {"oneOf": [{"const": "none"}, {"enum": ["block", "conceal"]}]},
                "pairs": {"type": "array", "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems": 2}},
                "any": true,
            },
            "required": ["port"],
        });
        let fits = |value: &Value| errors(&document, &schema, value);
        let right = json!({"port": 22, "name": null, "level": "block", "pairs": [["a", 1]], "any": {"x": []}});
        assert_eq!(fits(&right), Vec::<String>::new());
        for (field, wrong) in [
            ("port", json!(70_000)),
            ("port", json!(-1)),
            ("port", json!(1.5)),
            ("name", json!(7)),
            ("level", json!("other")),
            ("pairs", json!([["a"]])),
            ("pairs", json!([["a", "b"]])),
            ("unknown", json!(1)),
        ] {
            let mut value = right.clone();
            value[field] = wrong;
            assert_eq!(fits(&value).len(), 1, "{value}: {:?}", fits(&value));
        }
        assert_eq!(fits(&json!({"name": "x"})).len(), 1, "what is required is missing");
        assert_eq!(errors(&document, &json!({"pattern": "x"}), &json!("x")).len(), 1, "an unknown keyword");
        assert_eq!(errors(&document, &json!({"$ref": "#/components/schemas/Gone"}), &json!(1)).len(), 1);
    }
}
