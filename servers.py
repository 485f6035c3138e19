"""The servers that come with the gateway: data only, meant to be read and edited.

An entry has the form of a client's own config: `command`, `args`, `env` for a program, `url` and
`headers` for a server on the web. `${VAR}` is taken from the environment or from `.env`; a variable
that is not set is left out of `env`, and the list of servers says which one is missing. Your own
servers may stand here or in `servers.json` in the home folder, which is laid over this file.
"""

from typing import Any

MCP_SERVERS: dict[str, dict[str, Any]] = {
    # https://github.com/settings/tokens
    "github": {
        "description": "Repositories, issues, pull requests, code search, actions",
        "type": "http",
        "url": "https://api.githubcopilot.com/mcp/",
        "headers": {"Authorization": "Bearer ${GITHUB_PERSONAL_ACCESS_TOKEN}"},
    },
    # A key is optional and raises the limits: https://context7.com
    "context7": {
        "description": "Current documentation and code examples of libraries and frameworks",
        "command": "npx",
        "args": ["-y", "@upstash/context7-mcp"],
        "env": {"CONTEXT7_API_KEY": "${CONTEXT7_API_KEY:-}"},
    },
    # https://app.dataforseo.com/api-access
    "dataforseo": {
        "description": "Search results, keywords, backlinks, on-page and domain data",
        "command": "npx",
        "args": ["-y", "dataforseo-mcp-server"],
        "env": {
            "DATAFORSEO_USERNAME": "${DATAFORSEO_USERNAME}",
            "DATAFORSEO_PASSWORD": "${DATAFORSEO_PASSWORD}",
        },
    },
    # https://developers.google.com/analytics/devguides/MCP
    "google-analytics": {
        "description": "Accounts, properties, reports and realtime data",
        "command": "uvx",
        "args": ["analytics-mcp"],
        "env": {
            "GOOGLE_APPLICATION_CREDENTIALS": "${GOOGLE_APPLICATION_CREDENTIALS}",
            "GOOGLE_PROJECT_ID": "${GOOGLE_PROJECT_ID:-}",
        },
    },
    # Either of the two variables is enough: https://github.com/AminForou/mcp-gsc
    "google-search-console": {
        "description": "Search traffic, indexing, sitemaps, URL inspection",
        "command": "uvx",
        "args": ["mcp-search-console"],
        "env": {
            "GSC_CREDENTIALS_PATH": "${GSC_CREDENTIALS_PATH:-}",
            "GSC_OAUTH_CLIENT_SECRETS_FILE": "${GSC_OAUTH_CLIENT_SECRETS_FILE:-}",
        },
    },
    # The log-in opens a callback on port 8000 that dies with the process, so it is never stopped
    # for being idle: https://github.com/taylorwilsdon/google_workspace_mcp
    "google-workspace": {
        "description": "Gmail, Calendar, Drive, Docs, Sheets, Slides, Forms, Tasks, Chat",
        "command": "uvx",
        "args": ["workspace-mcp", "--tool-tier", "core"],
        "env": {
            "GOOGLE_OAUTH_CLIENT_ID": "${GOOGLE_OAUTH_CLIENT_ID}",
            "GOOGLE_OAUTH_CLIENT_SECRET": "${GOOGLE_OAUTH_CLIENT_SECRET}",
        },
        "idle_timeout": 0,
    },
    # Finds by meaning; the first call downloads its model: https://github.com/doobidoo/mcp-memory-service
    "memory": {
        "description": "Store and recall notes by meaning, across conversations",
        "command": "uvx",
        "args": ["--from", "mcp-memory-service[sqlite]", "memory", "server"],
        "env": {"MCP_MEMORY_STORAGE_BACKEND": "sqlite_vec"},
    },
    # Needs Node.js 22 or newer: https://console.apify.com/account/integrations
    "apify": {
        "description": "Web scraping and automation actors, their runs and stored results",
        "command": "npx",
        "args": ["-y", "@apify/actors-mcp-server", "--tools", "actors,docs,runs,storage"],
        "env": {"APIFY_TOKEN": "${APIFY_TOKEN}", "TELEMETRY_ENABLED": "false"},
    },
}
