//! W3C's trace context: the trace that a request belongs to, and the calling span.

use hyper::HeaderMap;

/// Returns trace and calling span from `traceparent`, if it is valid (W3C Trace Context, 3.2).
pub(in crate::worker) fn parent(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut given = headers.get_all("traceparent").iter();
    let text = given.next()?.to_str().ok()?;
    // Two of them contradict each other.
    if given.next().is_some() {
        return None;
    }
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_id = |text: &str, len: usize| is_hex(text, len) && text.bytes().any(|byte| byte != b'0');
    // Later versions may add parts; version ff does not exist.
    let whole = version != "00" || parts.next().is_none();
    let valid = is_hex(version, 2) && version != "ff" && is_hex(flags, 2) && whole;
    (valid && is_id(trace, 32) && is_id(parent, 16)).then_some((trace, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_parents_are_taken_and_no_others() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let parent_of = |texts: &[&str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append("traceparent", text.parse().unwrap());
            }
            parent(&headers).map(|(trace, span)| (trace.to_owned(), span.to_owned()))
        };
        let good = format!("00-{trace}-{span}-01");
        for text in
            [good.clone(), format!("cc-{trace}-{span}-00-what-comes"), format!("cc-{trace}-{span}-00")]
        {
            assert_eq!(parent_of(&[&text]), Some((trace.to_owned(), span.to_owned())), "{text}");
        }
        for text in [
            "".to_owned(),
            "00".to_owned(),
            format!("ff-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01-more"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-1"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("0-{trace}-{span}-01"),
        ] {
            assert_eq!(parent_of(&[&text]), None, "{text}");
        }
        assert_eq!(parent_of(&[&good, &good]), None);
    }
}
