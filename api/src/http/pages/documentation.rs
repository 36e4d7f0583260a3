//! `/docs`, made from the description that programs get, and the page of a code.

use std::{fmt::Write, sync::LazyLock};

use serde_json::Value;

use super::{
    super::{
        openapi,
        operations::{self, EVERYWHERE, Operation, TAGS},
    },
    advice, html,
};
use crate::problem::Code;

/// The page.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| render(openapi::document()));
    &TEXT
}

/// The page of a code.
pub fn code_page(code: Code) -> String {
    let facts = [
        ("What to do", advice::html(code)),
        ("Sending the same again helps", advice::retry(code).to_owned()),
        ("HTTP status", code.http().to_string()),
        ("gRPC status", advice::grpc_name(code).to_owned()),
    ];
    let facts = facts.map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"));
    let body = format!(
        "<main class=\"narrow\">\n<p class=\"soft\">Fulgurite refused a request</p>\n\
         <h1><code>{}</code></h1>\n<p>{}</p>\n<dl>\n{}</dl>\n\
         <p><a href=\"/docs#codes\">All codes</a> · <a href=\"/docs\">Documentation</a></p>\n\
         </main>\n",
        code.name(),
        html::inline(&sentence(code.title())),
        facts.concat(),
    );
    html::document(&format!("{} · Fulgurite", code.name()), &body)
}

/// The text as a sentence.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

fn render(description: &Value) -> String {
    let info = &description["info"];
    let mut main = format!(
        "<h1>Fulgurite: the HTTP door</h1>\n<p class=\"soft\">Version {} · \
         <a href=\"/openapi.json\">openapi.json</a></p>\n{}",
        html::escape(text_of(&info["version"])),
        html::paragraphs(text_of(&info["description"])),
    );
    for (tag, about) in TAGS {
        let _ = write!(main, "<h2 id=\"{tag}\">{tag}</h2>\n{}", html::paragraphs(about));
        for operation in operations::all().filter(|operation| operation.tag == *tag) {
            main.push_str(&operation_section(operation, description));
        }
    }
    main.push_str("<h2 id=\"schemas\">Schemas</h2>\n");
    for (name, schema) in entries(&description["components"]["schemas"]) {
        main.push_str(&schema_section(name, schema));
    }
    main.push_str(&codes_section());
    let body = format!(
        "<a class=\"skip\" href=\"#content\">Skip to the content</a>\n<div class=\"columns\">\n\
         <nav aria-label=\"Contents\">\n{}</nav>\n<main id=\"content\">\n{main}</main>\n</div>\n",
        contents(),
    );
    html::document("Fulgurite: the HTTP door", &body)
}

fn contents() -> String {
    let mut out = String::new();
    for (tag, _) in TAGS {
        let _ = writeln!(out, "<h2>{tag}</h2>\n<ul>");
        for operation in operations::all().filter(|operation| operation.tag == *tag) {
            let _ = writeln!(
                out,
                "<li><a href=\"#{}\">{}</a></li>",
                operation.id,
                html::escape(operation.summary)
            );
        }
        out.push_str("</ul>\n");
    }
    out + "<h2>Reference</h2>\n<ul>\n<li><a href=\"#schemas\">Schemas</a></li>\n\
           <li><a href=\"#codes\">Codes</a></li>\n</ul>\n"
}

fn operation_section(operation: &Operation, description: &Value) -> String {
    let method = operation.method.to_ascii_lowercase();
    let described = &description["paths"][operation.path][&method];
    let mut out = format!(
        "<section aria-labelledby=\"{id}\">\n<h3 id=\"{id}\"><span class=\"method {method}\">{}\
         </span> <code>{}</code></h3>\n<p><strong>{}.</strong></p>\n{}",
        operation.method,
        html::escape(operation.path),
        html::escape(operation.summary),
        html::paragraphs(operation.description),
        id = operation.id,
    );
    out.push_str(&html::pre(&curl(operation)));
    if let Some(parameters) = described["parameters"].as_array() {
        let rows: Vec<_> = parameters.iter().map(parameter_row).collect();
        out.push_str("<h4>Parameters</h4>\n");
        out.push_str(&html::table(&["name", "in", "holds", "meaning"], &rows));
    }
    if let Some(body) = operation.body {
        let _ = writeln!(out, "<h4>Body</h4>\n<p>{}</p>", schema_link(body.schema));
    }
    out.push_str("<h4>Answers</h4>\n");
    for (status, response) in entries(&described["responses"]) {
        if status.starts_with('2') {
            out.push_str(&good_answer(status, response));
        }
    }
    out.push_str(&refusals(operation, described));
    out + "</section>\n"
}

fn parameter_row(parameter: &Value) -> Vec<String> {
    let needed = parameter["required"] == true;
    let mark = if needed { " <span class=\"needed\">required</span>" } else { "" };
    vec![
        format!("<code>{}</code>{mark}", html::escape(text_of(&parameter["name"]))),
        text_of(&parameter["in"]).to_owned(),
        holds(&parameter["schema"]),
        html::inline(text_of(&parameter["description"])),
    ]
}

fn good_answer(status: &str, response: &Value) -> String {
    let about = html::inline(text_of(&response["description"]));
    let content = &response["content"]["application/json"];
    let schema = match &content["schema"]["$ref"] {
        Value::String(at) => format!(" {}", schema_link(at)),
        _ => String::new(),
    };
    let mut out = format!("<p><strong>{status}</strong> {about}{schema}</p>\n");
    if !response["headers"].is_null() {
        let lines = entries(&response["headers"]).map(|(name, header)| {
            let about = html::inline(text_of(&header["description"]));
            format!("<li><code>{name}</code>: {about}</li>\n")
        });
        let _ = writeln!(out, "<ul>\n{}</ul>", lines.collect::<String>());
    }
    for (_, example) in entries(&content["examples"]) {
        let text = serde_json::to_string_pretty(&example["value"]).unwrap_or_default();
        let _ =
            write!(out, "<details><summary>Example</summary>\n{}</details>\n", html::pre(&text));
    }
    out
}

fn refusals(operation: &Operation, described: &Value) -> String {
    let row = |code: Code| {
        let status = code.http();
        debug_assert!(!described["responses"][status.to_string()].is_null());
        vec![status.to_string(), code_link(code), html::inline(code.title())]
    };
    let mut rows: Vec<_> = operation.refusals().map(row).collect();
    rows.sort();
    let others = EVERYWHERE.iter().map(|code| code_link(*code)).collect::<Vec<_>>().join(", ");
    let table = match rows.is_empty() {
        true => String::new(),
        false => html::table(&["status", "code", "meaning"], &rows),
    };
    format!(
        "<details><summary>Refusals</summary>\n{table}<p class=\"soft\">And, as everywhere: \
         {others}.</p>\n</details>\n"
    )
}

/// How to ask with curl.
fn curl(operation: &Operation) -> String {
    let mut path = operation.path.to_owned();
    let mut lines = Vec::new();
    let mut query = Vec::new();
    for parameter in operation.parameters.iter().filter(|it| !it.example.is_empty()) {
        let (name, example) = (parameter.name, parameter.example);
        match parameter.place {
            "path" => path = path.replace(&format!("{{{name}}}"), example),
            "header" => lines.push(format!("-H '{name}: {example}'")),
            _ if example == "false" => {}
            _ => query.push(format!("{name}={example}")),
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let method = if operation.method == "GET" { "" } else { "-X POST " };
    let mut out = vec![format!("curl -s {method}'http://localhost:8080{path}'")];
    if let Some(body) = operation.body {
        lines.push("-H 'Content-Type: application/json'".to_owned());
        let text = serde_json::to_string_pretty(&openapi::example(body.example));
        lines.push(format!("-d '{}'", text.unwrap_or_default()));
    }
    out.extend(lines.into_iter().map(|line| format!("  {line}")));
    out.join(" \\\n")
}

fn schema_section(name: &str, schema: &Value) -> String {
    let mut out = format!(
        "<h3 id=\"schema-{name}\"><code>{name}</code></h3>\n{}",
        html::paragraphs(text_of(&schema["description"]))
    );
    let needed = |field: &str| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|needed| needed == field))
    };
    let rows = entries(&schema["properties"]).map(|(field, property)| {
        let always = if needed(field) { " <span class=\"needed\">always</span>" } else { "" };
        vec![
            format!("<code>{field}</code>{always}"),
            holds(property),
            html::inline(text_of(&property["description"])),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        out.push_str(&html::table(&["field", "holds", "meaning"], &rows));
    }
    out
}

/// What a schema holds, in words.
fn holds(schema: &Value) -> String {
    if let Some(at) = schema["$ref"].as_str() {
        return schema_link(at);
    }
    if let Some(first) = schema["anyOf"].get(0) {
        return holds(first);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) if kinds.iter().any(|kind| kind == "integer") => "number or string",
        Value::Array(kinds) => kinds.first().map(text_of).unwrap_or_default(),
        kind => text_of(kind),
    };
    match (kind, text_of(&schema["format"])) {
        ("number or string", "int64") => "integer, or a decimal string".to_owned(),
        ("string", "int64") => "decimal string".to_owned(),
        ("string", "date-time") => "time".to_owned(),
        ("object", _) => "pairs of strings".to_owned(),
        ("array", _) => format!("list of {}", holds(&schema["items"])),
        (kind, _) => kind.to_owned(),
    }
}

fn codes_section() -> String {
    let rows = Code::ALL
        .iter()
        .map(|code| vec![code_link(*code), code.http().to_string(), html::inline(code.title())]);
    let rows: Vec<_> = rows.collect();
    format!(
        "<h2 id=\"codes\">Codes</h2>\n<p>Of both doors. Each has a page that says what to do.</p>\n{}",
        html::table(&["code", "status", "meaning"], &rows)
    )
}

fn code_link(code: Code) -> String {
    format!("<a href=\"/errors/{0}\"><code>{0}</code></a>", code.name())
}

fn schema_link(at: &str) -> String {
    let name = at.rsplit('/').next().unwrap_or(at);
    format!("<a href=\"#schema-{name}\"><code>{name}</code></a>")
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_of_the_page_leads_somewhere() {
        let page = text();
        for part in page.split("href=\"#").skip(1) {
            let target = part.split('"').next().unwrap_or_default();
            assert!(page.contains(&format!("id=\"{target}\"")), "#{target}");
        }
        for part in page.split("href=\"/errors/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(Code::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn pages_fetch_nothing_and_run_nothing() {
        for page in [text().to_owned(), code_page(Code::HashClaimed)] {
            for word in ["<script", "src=", "@import", "url(", "href=\"http", "onclick"] {
                assert!(!page.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn every_operation_and_schema_is_on_the_page() {
        for operation in operations::all() {
            assert!(text().contains(&format!("id=\"{}\"", operation.id)), "{}", operation.id);
        }
        for (name, _) in entries(&openapi::document()["components"]["schemas"]) {
            assert!(text().contains(&format!("id=\"schema-{name}\"")), "{name}");
        }
    }
}
