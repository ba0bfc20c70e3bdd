//! The description of the API for programs (OpenAPI 3.1), made from the tables that the code itself uses.
//!
//! It leaves out status and metrics: to most clients they do not exist.

use std::sync::OnceLock;

use bytes::Bytes;
use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::docs;
use super::error::ApiError;
use super::hex;
use super::links::NO_REFERENCE;
use super::warning::Warning;
use crate::api::{Direction, Endpoint, Field, Parameter};
use crate::model::{Kind, Owner};

/// The characters that the path of a URL must not contain (RFC 3986).
const NO_PATH: &AsciiSet = &NO_REFERENCE.add(b'%');

/// The errors with which the server may answer GET, by status.
const ERRORS: [(&str, &str, &str); 5] = [
    ("400", "Invalid", "A parameter has a value that it does not take, or the request is no HTTP"),
    ("404", "NotFound", "The collection has no entity with this id"),
    ("409", "CollectionChanged", "`snapshot` names another collection than this server has"),
    ("412", "PreconditionFailed", "`If-Match` names another representation"),
    ("500", "Unknown", "A bug of the server's; its log has the details"),
];

/// A document in the form in which the server sends it.
pub(in crate::worker) struct Document {
    pub(in crate::worker) body: Bytes,
    pub(in crate::worker) tag: Option<HeaderValue>,
}

impl Document {
    fn of(body: String) -> Self {
        let body = Bytes::from(body);
        let digits = hex::digits(xxh3_64(&body));
        let tag = HeaderValue::try_from(format!("\"{}\"", String::from_utf8_lossy(&digits))).ok();
        Document { body, tag }
    }
}

/// The descriptions of a server.
pub(in crate::worker) struct Description {
    request_path: String,
    version: &'static str,
    /// One for programs and one for people, made when a client first asks for one: that takes longer than the rest of a
    /// worker's start.
    documents: OnceLock<[Document; 2]>,
}

impl Description {
    /// The descriptions of a server of this version, whose endpoints are under `request_path`.
    pub(in crate::worker) fn of(request_path: &str, version: &'static str) -> Self {
        Description { request_path: request_path.to_owned(), version, documents: OnceLock::new() }
    }

    /// The description for programs.
    pub(in crate::worker) fn openapi(&self) -> &Document {
        &self.documents()[0]
    }

    /// The description for people.
    pub(in crate::worker) fn page(&self) -> &Document {
        &self.documents()[1]
    }

    fn documents(&self) -> &[Document; 2] {
        self.documents.get_or_init(|| {
            let openapi = describe(&self.request_path, self.version);
            let page = docs::page(&openapi);
            [Document::of(openapi.to_string()), Document::of(page)]
        })
    }
}

fn describe(request_path: &str, version: &str) -> Value {
    let server = match request_path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => utf8_percent_encode(path, NO_PATH).to_string(),
    };
    let described = Endpoint::ALL.into_iter().filter_map(|endpoint| {
        Some((format!("/{}", endpoint.path()), json!({ "get": operation(endpoint)? })))
    });
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Avalon Music Server",
            "version": version,
            // The server does not know the operator's name.
            "contact": { "name": "The operator of this server" },
            "description": "The songs, albums, artists and genres of a music collection, read only. \
                Each address takes HEAD as well. Unknown parameters count for nothing, and of a parameter \
                that is given several times the first value counts.",
        },
        "servers": [{ "url": server }],
        "security": [],
        "tags": [
            { "name": "collection", "description": "What the collection holds" },
            { "name": "server", "description": "What the server is" },
        ],
        "paths": described.collect::<Map<_, _>>(),
        "components": { "schemas": schemas(), "responses": responses() },
    })
}

/// Returns `None` for an endpoint that the description leaves out.
fn operation(endpoint: Endpoint) -> Option<Value> {
    let text = |id: &str, description: &str| {
        let content = json!({ "text/html": { "schema": { "type": "string" } } });
        let answers =
            json!({ "200": { "description": description, "content": content }, "412": error_at(3) });
        operation_of(id, "server", description, &[], answers)
    };
    Some(match endpoint {
        // The page is for people, and no part of the API.
        Endpoint::Status | Endpoint::Metrics | Endpoint::Page => return None,
        Endpoint::Version => text("getVersion", "The version of the server"),
        Endpoint::Heartbeat => text("getHeartbeat", "OKOKOK, once the server has started"),
        Endpoint::Docs => text("getDocs", "This document as a page"),
        Endpoint::OpenApi => {
            let description = "This document";
            let content = json!({ "application/json": { "schema": { "type": "object" } } });
            let answers = json!({
                "200": { "description": description, "content": content },
                "304": not_modified(),
                "412": error_at(3),
            });
            operation_of("getOpenApi", "server", description, &[], answers)
        }
        Endpoint::List(kind) => {
            let parameters = Parameter::ALL.into_iter().filter(|parameter| parameter.is_of(kind));
            let parameters: Vec<Value> = parameters.map(|of| parameter(of, kind)).collect();
            let description = format!("Lists {}: all, or those that all parameters leave", kind.plural());
            let schema = format!("{}List", type_name(kind));
            operation_of(
                &format!("list{}s", type_name(kind)),
                "collection",
                &description,
                &parameters,
                answers(&schema, true),
            )
        }
        Endpoint::Entity(kind) => {
            let id = json!({
                "name": Field::Id.name(), "in": "path", "required": true,
                "description": format!("The id of the {}, a UUID", kind.singular()),
                "schema": { "type": "string", "format": "uuid" },
            });
            let of_both = [Parameter::Counts, Parameter::Snapshot].into_iter().filter(|of| of.is_of(kind));
            let parameters: Vec<Value> =
                [id].into_iter().chain(of_both.map(|of| parameter(of, kind))).collect();
            let description = format!("One of the {}", kind.plural());
            let schema = format!("{}Answer", type_name(kind));
            operation_of(
                &format!("get{}", type_name(kind)),
                "collection",
                &description,
                &parameters,
                answers(&schema, false),
            )
        }
    })
}

fn operation_of(id: &str, tag: &str, description: &str, parameters: &[Value], responses: Value) -> Value {
    json!({
        "operationId": id, "tags": [tag], "summary": description, "description": description,
        "parameters": parameters, "responses": responses,
    })
}

fn answers(schema: &str, is_list: bool) -> Value {
    let string = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let mut headers = json!({
        "ETag": string("Changes with the collection, and with the question"),
        "X-Avalon-Snapshot": string("The collection of the answer, which `snapshot` takes"),
    });
    let mut answers = json!({ "304": not_modified() });
    for (place, (status, ..)) in ERRORS.iter().enumerate() {
        if !(is_list && *status == "404") {
            answers[status] = error_at(place);
        }
    }
    if is_list {
        headers["X-Total-Count"] = json!({
            "description": "With `total`: the number of all that match",
            "schema": { "type": "integer", "minimum": 0 },
        });
        headers["Link"] =
            string("With `total` and `limit`: the first, previous, next and last page (RFC 8288)");
    }
    let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
    let content = json!({ "application/json": { "schema": schema } });
    answers["200"] = json!({ "description": "The answer", "headers": headers, "content": content });
    answers
}

fn not_modified() -> Value {
    json!({ "description": "The client has it already, as `If-None-Match` says" })
}

/// The reference to the error at this place of the table.
fn error_at(place: usize) -> Value {
    json!({ "$ref": format!("#/components/responses/{}", ERRORS[place].1) })
}

fn responses() -> Map<String, Value> {
    let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } });
    let response = |description: &str| json!({ "description": description, "content": content });
    ERRORS.iter().map(|(_, name, description)| ((*name).to_owned(), response(description))).collect()
}

fn parameter(of: Parameter, kind: Kind) -> Value {
    let (text, truth) = (json!({ "type": "string" }), json!({ "type": "boolean", "default": false }));
    let uuid = json!({ "type": "string", "format": "uuid" });
    let whole = json!({ "type": "integer", "minimum": 0 });
    let kinds = kind.plural();
    let (description, schema) = match of {
        Parameter::Query => {
            ("Names in which a word begins with this, or the words from some word on do".into(), text)
        }
        Parameter::Words => ("Words of which each begins a word of a name, in any order".into(), text),
        Parameter::Order => {
            let fields = Field::ALL.into_iter().filter(|field| field.is_of(kind)).map(Field::name);
            ("The field to sort by".into(), json!({ "type": "string", "enum": fields.collect::<Vec<_>>() }))
        }
        Parameter::Direction => {
            let names = Direction::ALL.map(Direction::name);
            let schema = json!({ "type": "string", "enum": names, "default": names[0] });
            ("The direction of `order`, without which it counts for nothing".into(), schema)
        }
        Parameter::Limit => (format!("How many {kinds} at most"), whole),
        Parameter::Offset => ("After how many; it counts only with `limit`".into(), whole),
        Parameter::Name(owner) => (format!("The exact name of the {}, in any case", owner.singular()), text),
        Parameter::Id(owner) if kind == Kind::Song => (format!("The id of the {}", owner.singular()), uuid),
        // As in avalonms, a value that is no id has no effect, so it is no error.
        Parameter::Id(owner) => (format!("A UUID: {kinds} with a song of this {}", owner.singular()), text),
        Parameter::OwnId => (format!("A UUID: the {} with this id", kind.singular()), text),
        Parameter::SongQuery => (format!("{kinds} with a song that `query` finds"), text),
        Parameter::SongWords => (format!("{kinds} with a song that `words` finds"), text),
        Parameter::Counts => ("Whether to tell how many songs each has".into(), truth),
        Parameter::Total => ("Whether to tell how many match on all pages together".into(), truth),
        Parameter::Snapshot => (
            "The collection that must answer, as `X-Avalon-Snapshot` names it".into(),
            json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{32}$" }),
        ),
    };
    json!({ "name": of.name(), "in": "query", "description": description, "schema": schema })
}

/// The name of its schema.
fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Of(Owner::Album) => "Album",
        Kind::Of(Owner::Artist) => "Artist",
        Kind::Of(Owner::Genre) => "Genre",
        Kind::Song => "Song",
    }
}

fn schemas() -> Map<String, Value> {
    let told = |prefix: &str, codes: &[(u16, &str)]| {
        let numbers: Vec<u16> = codes.iter().map(|(code, _)| *code).collect();
        let keys: Vec<String> =
            codes.iter().map(|(_, key)| format!("avalon.service.{prefix}.{key}")).collect();
        object(
            &[
                ("code", json!({ "enum": numbers })),
                ("message", json!({ "type": "string" })),
                ("message_key", json!({ "enum": keys })),
                ("payload", json!({ "type": "object" })),
            ],
            &[],
        )
    };
    let list = |schema: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{schema}") } });
    let none = json!({ "type": "array", "items": {}, "maxItems": 0 });
    let envelope = |success: Value| {
        object(&[("errors", none.clone()), ("success", success), ("warnings", list("Warning"))], &[])
    };
    let mut schemas = Map::new();
    schemas.insert("Error".to_owned(), told("error", &ApiError::CODES));
    schemas.insert("Warning".to_owned(), told("warning", &Warning::CODES));
    let errors = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Error" }, "minItems": 1 });
    let failure = [("errors", errors), ("success", json!({ "type": "null" })), ("warnings", none.clone())];
    schemas.insert("Failure".to_owned(), object(&failure, &[]));
    for kind in Kind::ALL {
        let name = type_name(kind);
        schemas.insert(name.to_owned(), entity(kind));
        schemas.insert(format!("{name}List"), envelope(list(name)));
        schemas.insert(
            format!("{name}Answer"),
            envelope(json!({ "$ref": format!("#/components/schemas/{name}") })),
        );
    }
    schemas
}

fn entity(kind: Kind) -> Value {
    let fields = Field::ALL.into_iter().filter(|field| field.is_of(kind));
    let fields: Vec<(&str, Value)> = fields.map(|field| (field.name(), value(field, kind))).collect();
    let count = |name: &'static str| (name, json!({ "type": "integer", "minimum": 0 }));
    match kind {
        Kind::Song => object(&fields, &[]),
        Kind::Of(Owner::Album) => object(&fields, &[count("songs")]),
        Kind::Of(_) => object(&fields, &[count("songs"), count("albums")]),
    }
}

fn value(field: Field, kind: Kind) -> Value {
    match field {
        Field::Id | Field::AlbumId | Field::ArtistId | Field::GenreId => {
            json!({ "type": "string", "format": "uuid" })
        }
        // A file may have no title tag.
        Field::Name if kind == Kind::Song => json!({ "type": ["string", "null"] }),
        Field::Name | Field::Album | Field::Artist | Field::Genre => json!({ "type": "string" }),
        Field::Length | Field::Track | Field::Year => json!({ "type": ["integer", "null"] }),
    }
}

/// An object with exactly these fields, of which those in `others` are optional.
fn object(fields: &[(&str, Value)], others: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let all = fields.iter().chain(others).map(|(name, schema)| ((*name).to_owned(), schema.clone()));
    json!({
        "type": "object", "properties": all.collect::<Map<_, _>>(), "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_public_endpoints_and_their_parameters_are_described() {
        let document = describe("/avalon", "1.2.3");
        for endpoint in Endpoint::ALL {
            let operation = &document["paths"][format!("/{}", endpoint.path())]["get"];
            let is_hidden = matches!(endpoint, Endpoint::Status | Endpoint::Metrics | Endpoint::Page);
            assert_eq!(operation.is_null(), is_hidden, "{endpoint:?}");
            let Endpoint::List(kind) = endpoint else { continue };
            let names: Vec<_> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|of| of["name"].as_str().unwrap())
                .collect();
            let expected = Parameter::ALL.into_iter().filter(|of| of.is_of(kind)).map(Parameter::name);
            assert_eq!(names, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_server_is_where_its_endpoints_stand() {
        for (request_path, url) in [("/avalon", "/avalon"), ("/", "/"), ("/a/\u{e9} b", "/a/%C3%A9%20b")] {
            assert_eq!(describe(request_path, "1")["servers"][0]["url"], url);
        }
        let tag = |version| Description::of("/avalon", version).openapi().tag.clone().unwrap();
        assert_eq!(tag("1"), tag("1"));
        assert_ne!(tag("1"), tag("2"));
    }

    /// A reference that leads nowhere.
    #[test]
    fn all_references_lead_somewhere() {
        let document = describe("/avalon", "1");
        let text = document.to_string();
        let references: Vec<&str> =
            text.split("\"$ref\":\"#").skip(1).map(|rest| &rest[..rest.find('"').unwrap()]).collect();
        assert!(references.len() > 20);
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
