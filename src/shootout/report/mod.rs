//! The report: one page that needs nothing but itself.
//!
//! `model` decides what is on it, `charts` and `lanes` compute where, and the template writes it;
//! the template engine escapes whatever comes from a list, a command or a machine. No figure is
//! computed here that the results do not hold, and no chart is there without data for it.

mod charts;
mod curve;
mod lanes;
mod model;
mod scale;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};

use super::result::Shootout;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The name decides that the engine escapes for HTML.
const NAME: &str = "page.html";

/// Why the page cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct LayoutError(#[from] minijinja::Error);

/// The whole page.
///
/// # Errors
///
/// If the template does not fit the model, which the tests rule out.
pub fn page(shootout: &Shootout) -> Result<String, LayoutError> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    engine.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    engine.add_template(NAME, TEMPLATE)?;
    let page = engine.get_template(NAME)?.render(context! {
        page => Value::from(Serde(model::Page::of(shootout))),
        style => STYLE,
        script => SCRIPT,
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests;
