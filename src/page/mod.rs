//! Self-contained HTML pages: the frame, the style and the parts that all pages share.
//!
//! A page is a template that extends `base.html`, with its own style and script; `parts.html` has
//! macros for it. The engine escapes all data from lists, commands, servers and machines. This
//! module must not know what a page is about.

pub mod scale;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

/// The templates that all pages share, by name. The extension makes the engine escape for HTML.
const SHARED: [(&str, &str); 2] = [
    ("base.html", include_str!("base.html")),
    ("parts.html", include_str!("parts.html")),
];

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The name of the template that is rendered.
const NAME: &str = "page.html";

/// A page without its data.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Extends `base.html` and fills its blocks. The model is available as `page`.
    pub markup: &'static str,
    /// Rules on top of the shared ones.
    pub style: &'static str,
    /// Runs after the shared script.
    pub script: &'static str,
}

/// The page cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct LayoutError(#[from] minijinja::Error);

impl Template {
    /// Renders the whole page about `model`.
    ///
    /// # Errors
    ///
    /// Fails if the template does not fit the model.
    pub fn render(&self, model: &impl Serialize) -> Result<String, LayoutError> {
        self.render_part(model, None)
    }

    /// Renders one block of the page about `model`, to replace that block on a displayed page.
    ///
    /// # Errors
    ///
    /// Fails if the template does not fit the model, or has no such block.
    pub fn render_block(&self, block: &str, model: &impl Serialize) -> Result<String, LayoutError> {
        self.render_part(model, Some(block))
    }

    fn render_part(
        &self,
        model: &impl Serialize,
        block: Option<&str>,
    ) -> Result<String, LayoutError> {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()?,
        );
        for (name, markup) in SHARED {
            engine.add_template(name, markup)?;
        }
        engine.add_template(NAME, self.markup)?;
        let context = context! {
            page => Value::from(Serde(model)),
            style => [STYLE, self.style].concat(),
            script => [SCRIPT, self.script].concat(),
        };
        let page = engine.get_template(NAME)?;
        Ok(match block {
            None => page.render(context)?,
            Some(block) => page
                .render_captured(context)?
                .with_state_mut(|state| state.render_block(block))?,
        })
    }
}
