"""Reports as people and programs read them: `text.render_text`, `json.to_json` and `json.dump_json`."""
