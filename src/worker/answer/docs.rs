//! The description of the API for people: a page without scripts, styles and other addresses, which the
//! server makes from the document for programs.

use std::fmt::Write;

use serde_json::Value;

/// The page may load nothing, and no other page may show it in a frame.
pub(in crate::worker) const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page of this document.
pub(super) fn page(document: &Value) -> String {
    let server = text(&document["servers"][0]["url"]);
    let info = &document["info"];
    let title = format!("{} {}", text(&info["title"]), text(&info["version"]));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}: the API</title>\n</head>\n<body>\n\
         <main>\n<h1>{title}: the API</h1>\n<p>{}</p>\n<p>For programs: <a href=\"openapi.json\">openapi.json</a></p>\n",
        prose(&info["description"])
    );
    let server = server.trim_end_matches('/');
    for (path, operation) in entries(&document["paths"]) {
        append_operation(&mut page, server, path, &operation["get"], document);
    }
    page.push_str("<h2>Objects</h2>\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        append_schema(&mut page, name, schema);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn append_operation(page: &mut String, server: &str, path: &str, operation: &Value, document: &Value) {
    let path = escaped(path);
    add(
        page,
        format_args!(
            "<h2><code>GET {server}{path}</code></h2>\n<p>{}</p>\n",
            prose(&operation["description"])
        ),
    );
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        page.push_str(
            "<table>\n<tr><th scope=\"col\">parameter<th scope=\"col\">value<th scope=\"col\">meaning\n",
        );
    }
    for parameter in parameters {
        let (name, meaning) = (text(&parameter["name"]), prose(&parameter["description"]));
        let value = shape(&parameter["schema"]);
        add(page, format_args!("<tr><th scope=\"row\"><code>{name}</code><td>{value}<td>{meaning}\n"));
    }
    if !parameters.is_empty() {
        page.push_str("</table>\n");
    }
    page.push_str("<table>\n<tr><th scope=\"col\">status<th scope=\"col\">answer<th scope=\"col\">meaning\n");
    for (status, response) in entries(&operation["responses"]) {
        let response = response["$ref"]
            .as_str()
            .and_then(|at| document.pointer(at.trim_start_matches('#')))
            .unwrap_or(response);
        let content = entries(&response["content"]).next();
        let schema = content.map_or_else(String::new, |(_, content)| shape(&content["schema"]));
        add(
            page,
            format_args!(
                "<tr><th scope=\"row\">{}<td>{schema}<td>{}\n",
                escaped(status),
                prose(&response["description"])
            ),
        );
    }
    page.push_str("</table>\n");
}

fn append_schema(page: &mut String, name: &str, schema: &Value) {
    let name = escaped(name);
    add(
        page,
        format_args!(
            "<h3 id=\"{name}\">{name}</h3>\n<table>\n<tr><th scope=\"col\">field<th scope=\"col\">value\n"
        ),
    );
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    for (field, schema) in entries(&schema["properties"]) {
        let optional = if required.iter().any(|of| of == field) { "" } else { ", if asked for" };
        add(
            page,
            format_args!(
                "<tr><th scope=\"row\"><code>{}</code><td>{}{optional}\n",
                escaped(field),
                shape(schema)
            ),
        );
    }
    page.push_str("</table>\n");
}

/// The values of a schema, in words.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|at| at.rsplit('/').next()) {
        let name = escaped(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .map(|value| format!("<code>{}</code>", text(value)))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        other => text(other),
    };
    let format = schema["format"].as_str().or(schema["pattern"].as_str());
    let format = format.map_or_else(String::new, |format| format!(" (<code>{}</code>)", escaped(format)));
    let items = if schema["maxItems"] == 0 {
        ", empty".to_owned()
    } else {
        schema.get("items").map_or_else(String::new, |items| format!(" of {}", shape(items)))
    };
    let least = schema["minimum"].as_i64().map_or_else(String::new, |least| format!(", {least} or more"));
    format!("{types}{format}{items}{least}")
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// A value of the document as HTML: a string without its quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| escaped(&value.to_string()), escaped)
}

/// A description as HTML. The only Markdown that it may contain is names in backquotes.
fn prose(description: &Value) -> String {
    let parts = description.as_str().unwrap_or_default().split('`').enumerate();
    let html = parts.map(|(place, part)| match place % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    html.collect()
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

fn add(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = page.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_told_in_words() {
        for (schema, words) in [
            (json!({"type": "string", "format": "uuid"}), "string (<code>uuid</code>)"),
            (json!({"type": ["integer", "null"]}), "integer or null"),
            (json!({"type": "integer", "minimum": 0}), "integer, 0 or more"),
            (json!({"type": "array", "items": {}, "maxItems": 0}), "array, empty"),
            (json!({"type": "array", "items": {"$ref": "#/a/B"}}), "array of <a href=\"#B\">B</a>"),
            (json!({"type": "string", "enum": ["a", "<b>"]}), "<code>a</code>, <code>&lt;b&gt;</code>"),
        ] {
            assert_eq!(shape(&schema), words);
        }
    }

    #[test]
    fn names_in_backquotes_are_code() {
        assert_eq!(prose(&json!("`a` and `<b>`, not c")), "<code>a</code> and <code>&lt;b&gt;</code>, not c");
    }

    #[test]
    fn nothing_of_the_document_becomes_markup() {
        let document = json!({
            "info": { "title": "<i>", "version": "\"&'", "description": "" },
            "servers": [{ "url": "/<script>" }],
            "paths": { "/<b>": { "get": { "description": "<img>", "responses": {} } } },
        });
        let page = page(&document);
        for wrong in ["<i>", "<script", "<b>", "<img"] {
            assert!(!page.contains(wrong), "{wrong}: {page}");
        }
        assert!(page.contains("<title>&lt;i&gt; &quot;&amp;&#39;: the API</title>"));
    }
}
