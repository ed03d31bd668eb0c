//! `#[transform(…)]`: the manifest as constants, the exports, and the function unchanged.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, LitInt, LitStr, Path, Token, bracketed};

use crate::declared;

/// The arguments of the attribute.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) topics: Vec<LitStr>,
    /// In the order of declaration.
    pub(crate) targets: Vec<Target>,
    examples: Vec<(LitStr, Option<LitInt>)>,
}

/// A declared destination.
pub(crate) struct Target {
    pub(crate) sink: String,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// A row type.
    Table(Path),
    /// Table, `db.collection` or topic.
    Named(LitStr),
    /// The following module.
    Next,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Arguments::default();
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let (name, span) = parse_name(input)?;
            if seen.contains(&name) {
                return Err(Error::new(span, format!("`{name}` is given twice: put both into one list")));
            }
            arguments.parse_one(&name, span, input)?;
            seen.push(name);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn parse_one(&mut self, name: &str, span: Span, input: ParseStream<'_>) -> syn::Result<()> {
        if name == "next" {
            if input.peek(Token![=]) {
                return Err(Error::new(span, "`next` stands alone: it is the following module of the chain"));
            }
            self.targets.push(Target { sink: "next".into(), what: What::Next });
            return Ok(());
        }
        if !input.peek(Token![=]) {
            return Err(Error::new(span, format!("what of `{name}`? write `{name} = [\"…\"]`")));
        }
        input.parse::<Token![=]>()?;
        if !input.peek(syn::token::Bracket) {
            return Err(input.error(format!("`{name}` takes a list: write `{name} = [\"…\"]`")));
        }
        let list;
        bracketed!(list in input);
        match name {
            "topics" => self.topics = parse_topics(&list)?,
            "examples" => self.examples = parse_examples(&list)?,
            "topic" | "example" => return Err(Error::new(span, format!("write `{name}s = [..]`"))),
            _ => self.parse_targets(name, &list)?,
        }
        Ok(())
    }

    fn parse_targets(&mut self, sink: &str, list: ParseStream<'_>) -> syn::Result<()> {
        for what in Punctuated::<What, Token![,]>::parse_terminated(list)? {
            match &what {
                What::Named(name) => self.check_name(sink, name)?,
                What::Table(path) if matches!(sink, "kafka" | "mongodb") => {
                    let noun = if sink == "kafka" { "a topic" } else { "a collection" };
                    let text = format!("{noun} is named by a text such as \"{}\"", example(sink));
                    return Err(Error::new(path.span(), text));
                }
                _ => {}
            }
            self.targets.push(Target { sink: sink.to_owned(), what });
        }
        Ok(())
    }

    fn check_name(&self, sink: &str, name: &LitStr) -> syn::Result<()> {
        let text = name.value();
        let fixed = text.strip_suffix('*').unwrap_or(&text);
        let error = |message: String| Err(Error::new(name.span(), message));
        if text.is_empty() {
            return error("a name must not be empty".into());
        }
        if fixed.contains('*') {
            return error("`*` may only stand at the end of a name".into());
        }
        if sink == "kafka" && !topic_characters(fixed) {
            return error("a topic's name consists of letters, digits, `.`, `_` and `-`".into());
        }
        if sink == "mongodb" && !fixed.contains('.') {
            return error(format!("name the database as well: `db.{text}`"));
        }
        let same = |other: &Target| matches!(&other.what, What::Named(n) if n.value() == text) && other.sink == sink;
        if self.targets.iter().any(same) {
            return error(format!("`{text}` is declared twice for `{sink}`"));
        }
        Ok(())
    }
}

impl Parse for What {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitStr) { input.parse().map(What::Named) } else { input.parse().map(What::Table) }
    }
}

/// What `#[transform(arguments)]` makes of a function. After an error the function is still there, so that the
/// compiler does not complain about the rest of the crate as well.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let text = "#[transform] goes on a function `fn name(record: &Record, out: &mut Outputs) -> Result<()>`";
            let error = Error::new(item.clone().into_iter().next().map_or_else(|| error.span(), |t| t.span()), text);
            let error = error.into_compile_error();
            return quote!(#item #error);
        }
    };
    let expanded = check_signature(&function)
        .and_then(|()| syn::parse2::<Arguments>(arguments))
        .and_then(|arguments| {
            let checks = declared::check(&arguments, &function)?;
            Ok(generate(&arguments, &function, &checks))
        })
        .unwrap_or_else(Error::into_compile_error);
    quote!(#function #expanded)
}

fn check_signature(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    let expected = "a transform is `fn name(record: &Record, out: &mut Outputs) -> Result<()>`";
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new(asyncness.span, format!("{expected}: there is nothing to wait for in a module")));
    }
    if signature.inputs.len() != 2 || signature.generics.type_params().next().is_some() {
        return Err(Error::new(signature.inputs.span(), expected));
    }
    if matches!(signature.output, syn::ReturnType::Default) {
        return Err(Error::new(signature.ident.span(), format!("{expected}: the result is missing")));
    }
    Ok(())
}

fn generate(arguments: &Arguments, function: &ItemFn, checks: &[TokenStream]) -> TokenStream {
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let topics = &arguments.topics;
    let targets = arguments.targets.iter().map(target);
    let examples = arguments.examples.iter().map(|(value, outputs)| {
        let outputs = outputs.as_ref().map_or_else(|| quote!(None), |n| quote!(Some(#n)));
        quote!(::wasmill_sdk::Example { key: None, value: Some(#value), outputs: #outputs })
    });
    // The call is spanned to the function's name: a wrong signature is reported there.
    let call = quote_spanned!(name.span()=> #name(record, out));
    let doc = format!("The transform [`{name}`]({name}()) as a type, for `testing::run::<{name}>(…)`.");
    quote! {
        #[doc = #doc]
        #[allow(non_camel_case_types, reason = "it has the function's name")]
        #[derive(Clone, Copy, Debug)]
        #visibility enum #name {}

        #[doc(hidden)]
        mod __a_crate_has_one_transform {}

        const _: () = {
            impl ::wasmill_sdk::Transform for #name {
                const NAME: &'static str = ::core::env!("CARGO_PKG_NAME");
                const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
                const TOPICS: &'static [&'static str] = &[#(#topics),*];
                const TARGETS: &'static [::wasmill_sdk::Target] = &[#(#targets),*];
                const EXAMPLES: &'static [::wasmill_sdk::Example] = &[#(#examples),*];

                fn transform(
                    record: &::wasmill_sdk::Record<'_>,
                    out: &mut ::wasmill_sdk::Outputs,
                ) -> ::wasmill_sdk::Result<()> {
                    #call
                }
            }
            #(#checks)*
            #[cfg(target_arch = "wasm32")]
            ::wasmill_sdk::__private::bindings::export!(#name with_types_in ::wasmill_sdk::__private::bindings);
        };
    }
}

fn target(target: &Target) -> TokenStream {
    let sink = &target.sink;
    match &target.what {
        What::Table(path) => quote_spanned! {path.span()=>
            ::wasmill_sdk::Target::table(#sink, <#path as ::wasmill_sdk::Table>::TABLE)
        },
        What::Named(name) => quote!(::wasmill_sdk::Target::named(#sink, #name)),
        What::Next => quote!(::wasmill_sdk::Target::named("next", "next")),
    }
}

fn parse_name(input: ParseStream<'_>) -> syn::Result<(String, Span)> {
    if input.peek(LitStr) {
        let name: LitStr = input.parse()?;
        return Ok((name.value(), name.span()));
    }
    let name = input.call(Ident::parse_any).map_err(|e| {
        Error::new(
            e.span(),
            "expected `topics`, `postgres`, `mongodb`, `kafka`, another sink's name, `next` or `examples`",
        )
    })?;
    Ok((name.to_string(), name.span()))
}

fn parse_topics(list: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    let topics: Vec<LitStr> = Punctuated::<LitStr, Token![,]>::parse_terminated(list)?.into_iter().collect();
    for topic in &topics {
        let text = topic.value();
        let error = |message: &str| Err(Error::new(topic.span(), message));
        if text.starts_with('^') {
            continue;
        }
        if text.is_empty() || !topic_characters(&text) {
            return error(
                "a topic's name consists of letters, digits, `.`, `_` and `-`; a regular expression begins with `^`",
            );
        }
        if text.ends_with(".dlq") || text.starts_with("__") {
            return error("dead letters and Kafka's own topics are not read by flows");
        }
    }
    Ok(topics)
}

fn parse_examples(list: ParseStream<'_>) -> syn::Result<Vec<(LitStr, Option<LitInt>)>> {
    let mut examples = Vec::new();
    while !list.is_empty() {
        let value = list.parse()?;
        let outputs = if list.parse::<Option<Token![=>]>>()?.is_some() { Some(list.parse()?) } else { None };
        examples.push((value, outputs));
        if !list.is_empty() {
            list.parse::<Token![,]>()?;
        }
    }
    Ok(examples)
}

fn topic_characters(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn example(sink: &str) -> &'static str {
    if sink == "kafka" { "quotes_clean" } else { "shop.orders" }
}
