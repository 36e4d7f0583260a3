//! The little HTML that the pages need.

/// A whole page.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{}</style>\n</head>\n<body>\n\
         {body}</body>\n</html>\n",
        escape(title),
        include_str!("style.css"),
    )
}

/// Text that shows as it is.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A line with `code` and **strong** words.
pub fn inline(text: &str) -> String {
    let code = pairs(&escape(text), "`", "code");
    pairs(&code, "**", "strong")
}

/// Turns what stands between two marks into an element.
fn pairs(text: &str, mark: &str, element: &str) -> String {
    let parts: Vec<&str> = text.split(mark).collect();
    let mut out = String::new();
    for (at, part) in parts.iter().enumerate() {
        let is_inside = at % 2 == 1 && at + 1 < parts.len();
        if is_inside {
            out.push_str(&format!("<{element}>{part}</{element}>"));
        } else if at % 2 == 1 {
            out.push_str(mark);
            out.push_str(part);
        } else {
            out.push_str(part);
        }
    }
    out
}

/// Paragraphs with blank lines between them, and lists of lines that start with a star.
pub fn paragraphs(text: &str) -> String {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    let blocks = blocks.map(|block| {
        if !block.starts_with("* ") {
            return format!("<p>{}</p>\n", inline(block));
        }
        let items = block.lines().map(|line| line.trim_start_matches("* "));
        let items: String = items.map(|item| format!("<li>{}</li>\n", inline(item))).collect();
        format!("<ul>\n{items}</ul>\n")
    });
    blocks.collect()
}

/// A table that scrolls by itself when the screen is narrow. Cells are HTML.
pub fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let rows = rows.iter().map(|cells| {
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{cells}</tr>\n")
    });
    let rows: String = rows.collect();
    format!(
        "<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// Text in lines of its own.
pub fn pre(text: &str) -> String {
    format!("<pre tabindex=\"0\"><code>{}</code></pre>\n", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
        assert_eq!(inline("`a<b`"), "<code>a&lt;b</code>");
    }

    #[test]
    fn marks_come_in_pairs() {
        assert_eq!(inline("**a** `b` c"), "<strong>a</strong> <code>b</code> c");
        assert_eq!(inline("one ` alone"), "one ` alone");
    }

    #[test]
    fn lists_and_paragraphs_are_told_apart() {
        assert_eq!(paragraphs("a\n\n* b\n* c"), "<p>a</p>\n<ul>\n<li>b</li>\n<li>c</li>\n</ul>\n");
    }
}
